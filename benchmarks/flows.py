"""The flows and data that are measured."""

from __future__ import annotations

import json
from pathlib import Path

TINY = """
inputs:
  text: {type: string, default: hello}
outputs:
  out: {type: string, reference: "${shout.output}"}
nodes:
- name: shout
  type: python
  source: {type: code, path: shout.py}
  inputs: {text: "${inputs.text}"}
"""
PYTHON = """
inputs:
  question: {type: string}
  n: {type: int}
outputs:
  answer: {type: string, reference: "${join.output}"}
nodes:
- name: clean
  type: python
  source: {type: code, path: clean.py}
  inputs: {question: "${inputs.question}"}
- name: repeat
  type: python
  source: {type: code, path: repeat.py}
  inputs: {text: "${clean.output}", n: "${inputs.n}"}
- name: join
  type: python
  source: {type: code, path: join.py}
  inputs: {parts: "${repeat.output}", head: "${clean.output}"}
"""
LLM = """
inputs:
  question: {type: string}
outputs:
  answer: {type: string, reference: "${ask.output}"}
nodes:
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  connection: bench
  api: chat
  inputs: {model: m, temperature: 0, max_tokens: 64, question: "${inputs.question}"}
"""
LLM3 = (
    LLM.replace("${ask.output}", "${third.output}")
    + """
- name: second
  type: llm
  source: {type: code, path: ask.jinja2}
  connection: bench
  api: chat
  inputs: {model: m, temperature: 0, question: "${ask.output}"}
- name: third
  type: llm
  source: {type: code, path: ask.jinja2}
  connection: bench
  api: chat
  inputs: {model: m, temperature: 0, question: "${second.output}"}
"""
)
# Every call is another one, so that the model's server can tell which were repeated.
CALLS = """
inputs:
  question: {type: string}
  n: {type: int}
outputs:
  answer: {type: string, reference: "${join.output}"}
nodes:
- name: clean
  type: python
  source: {type: code, path: clean.py}
  inputs: {question: "${inputs.question}"}
- name: first
  type: llm
  source: {type: code, path: first.jinja2}
  connection: bench
  api: chat
  inputs: {model: m, temperature: 0, text: "${clean.output}"}
- name: repeat
  type: python
  source: {type: code, path: repeat.py}
  inputs: {text: "${first.output}", n: "${inputs.n}"}
- name: second
  type: llm
  source: {type: code, path: second.jinja2}
  connection: bench
  api: chat
  inputs: {model: m, temperature: 0, text: "${clean.output}"}
- name: join
  type: python
  source: {type: code, path: join.py}
  inputs: {parts: "${repeat.output}", head: "${second.output}"}
"""
# The same without asyncio: a tool that blocks its thread.
BLOCKING = """
inputs:
  question: {type: string}
  n: {type: int}
outputs:
  answer: {type: string, reference: "${second.output}"}
nodes:
- name: first
  type: python
  source: {type: code, path: ask.py}
  inputs: {text: "${inputs.question}", url: MODEL_URL}
- name: second
  type: python
  source: {type: code, path: ask.py}
  inputs: {text: "${first.output}", url: MODEL_URL}
"""
# Some rows fail, and the others are summed up.
GRADING = """
inputs:
  question: {type: string}
  n: {type: int}
outputs:
  answer: {type: int, reference: "${grade.output}"}
nodes:
- name: grade
  type: python
  source: {type: code, path: grade.py}
  inputs: {question: "${inputs.question}", n: "${inputs.n}", url: MODEL_URL}
- name: total
  type: python
  source: {type: code, path: total.py}
  inputs: {grades: "${grade.output}"}
  aggregation: true
"""
GRADE = """
from ask import ask

from promptflow.core import tool


@tool
def grade(question: str, n: int, url: str) -> int:
    answer = ask(question, url)
    if n == 3:
        raise ValueError("no grade for this one")
    return len(answer)
"""
TOTAL = """
from promptflow.core import log_metric, tool


@tool
def total(grades: list):
    log_metric("total", sum(grade for grade in grades if grade))
    log_metric("lines", len(grades))
"""
ASK = """
import http.client
import json
import threading

from promptflow.core import tool

OWN = threading.local()


@tool
def ask(text: str, url: str) -> str:
    if not hasattr(OWN, "connection"):
        OWN.connection = http.client.HTTPConnection(url.removeprefix("http://"))
    body = json.dumps({"messages": [{"role": "user", "content": text}]})
    OWN.connection.request("POST", "/v1/chat/completions", body)
    return json.load(OWN.connection.getresponse())["choices"][0]["message"]["content"]
"""
EVALUATION = """
inputs:
  question: {type: string}
  answer: {type: string}
outputs:
  score: {type: double, reference: "${grade.output}"}
nodes:
- name: grade
  type: python
  source: {type: code, path: grade.py}
  inputs: {question: "${inputs.question}", answer: "${inputs.answer}"}
- name: total
  type: python
  source: {type: code, path: total.py}
  inputs: {scores: "${grade.output}"}
  aggregation: true
"""
CLEAN = """
from promptflow.core import tool


@tool
def clean(question: str) -> str:
    return " ".join(question.split()).lower()
"""
REPEAT = """
from promptflow.core import tool


@tool
def repeat(text: str, n: int) -> list:
    return [text] * n
"""
JOIN = """
from promptflow.core import tool


@tool
def join(parts: list, head: str) -> str:
    return head + ": " + ", ".join(parts)
"""
FILES = {
    "tiny/flow.dag.yaml": TINY,
    "tiny/shout.py": "from promptflow.core import tool\n\n\n@tool\ndef shout(text: str) -> str:\n"
    "    return text.upper()\n",
    "py3/flow.dag.yaml": PYTHON,
    "py3/clean.py": CLEAN,
    "py3/repeat.py": REPEAT,
    "py3/join.py": JOIN,
    "llm/flow.dag.yaml": LLM,
    "llm/ask.jinja2": "system:\nYou are a terse assistant.\n\nuser:\n{{question}}\n",
    "llm3/flow.dag.yaml": LLM3,
    "llm3/ask.jinja2": "user:\n{{question}}\n",
    "calls/flow.dag.yaml": CALLS,
    "calls/clean.py": CLEAN,
    "calls/repeat.py": REPEAT,
    "calls/join.py": JOIN,
    "calls/first.jinja2": "user:\nfirst {{text}}\n",
    "calls/second.jinja2": "user:\nsecond {{text}}\n",
    "blocking/flow.dag.yaml": BLOCKING,
    "blocking/ask.py": ASK,
    "grading/flow.dag.yaml": GRADING,
    "grading/ask.py": ASK,
    "grading/grade.py": GRADE,
    "grading/total.py": TOTAL,
    "eval/flow.dag.yaml": EVALUATION,
    "eval/grade.py": "from promptflow.core import tool\n\n\n@tool\ndef grade(question: str, answer: str) -> float:\n"
    "    return 1.0 if question[:3].lower() in answer.lower() else 0.0\n",
    "eval/total.py": "from typing import List\n\nfrom promptflow.core import log_metric, tool\n\n\n@tool\n"
    "def total(scores: List[float]):\n    log_metric('mean_score', sum(scores) / max(1, len(scores)))\n",
}


def write_flows(folder: Path, model_url: str) -> None:
    """Write the flows and a connection to ``model_url`` under ``folder``."""
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip("\n").replace("MODEL_URL", model_url), encoding="utf-8")
    connection = f"name: bench\ntype: open_ai\napi_key: not-a-secret\nbase_url: {model_url}/v1\n"
    (folder / "connection.yaml").write_text(connection, encoding="utf-8")


def write_data(folder: Path, rows: int) -> Path:
    """A file of so many rows for any of the flows; made once."""
    file = folder / f"rows-{rows}.jsonl"
    if not file.exists():
        with file.open("w", encoding="utf-8") as out:
            for i in range(rows):
                row = {"question": f"How  many apples are in basket {i}?", "n": i % 5 + 1}
                out.write(json.dumps(row) + "\n")
    return file
