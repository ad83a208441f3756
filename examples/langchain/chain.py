"""A flow as a step of a LangChain chain, and the chain as a flow."""

import re
from pathlib import Path

from langchain_core.runnables import RunnableLambda

from promptflow.integrations.langchain import FlowRunnable, as_callable

REQUEST = re.compile(r"(?P<amount>\d+(?:\.\d+)?) EUR, (?P<days>\d+) days?, (?P<reason>.+)")


def read(request: str) -> dict:
    found = REQUEST.match(request)
    if not found:
        raise ValueError(f"{request!r} does not read like '240 EUR, 4 days, wrong item'")
    return found.groupdict()


# The flow coerces its inputs: it declares the amount as a double and the days as an int.
desk = FlowRunnable(Path(__file__).resolve().parents[1] / "conditional", output="decision")
chain = RunnableLambda(read) | desk | RunnableLambda(str.capitalize)

# The entry of flow.flex.yaml.
decide = as_callable(chain, inputs=["request"])

if __name__ == "__main__":
    for decision in chain.batch(["35 EUR, 9 days, changed mind", "80 EUR, 64 days, faulty"]):
        print(decision)
