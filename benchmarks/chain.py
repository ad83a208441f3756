"""Microseconds per call of a three-node chain: ``chain.py flow FOLDER`` or ``chain.py langgraph``.

Runs under the interpreter of the implementation that is measured, so it imports nothing else of ours.
"""

import json
import statistics
import sys
import time

QUESTION, N, CALLS = "how many  Apples", 3, 1000
EXPECTED = "how many apples: how many apples, how many apples, how many apples"


def flow_caller(folder):
    from promptflow.client import load_flow

    flow = load_flow(folder)
    return lambda: flow(question=QUESTION, n=N)["answer"]


def langgraph_caller():
    from typing import TypedDict

    from langgraph.graph import END, START, StateGraph

    class State(TypedDict):
        q: str
        n: int
        clean: str
        parts: list
        out: str

    graph = StateGraph(State)
    graph.add_node("a", lambda s: {"clean": " ".join(s["q"].split()).lower()})
    graph.add_node("b", lambda s: {"parts": [s["clean"]] * s["n"]})
    graph.add_node("c", lambda s: {"out": s["clean"] + ": " + ", ".join(s["parts"])})
    for start, end in ((START, "a"), ("a", "b"), ("b", "c"), ("c", END)):
        graph.add_edge(start, end)
    compiled = graph.compile()
    return lambda: compiled.invoke({"q": QUESTION, "n": N})["out"]


call = flow_caller(sys.argv[2]) if sys.argv[1] == "flow" else langgraph_caller()
assert call() == EXPECTED
times = []
for _ in range(CALLS):
    start = time.perf_counter()
    call()
    times.append(time.perf_counter() - start)
print(json.dumps({"us": statistics.median(times) * 1e6}))
