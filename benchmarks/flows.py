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
  question: {type: string, default: how many apples}
  n: {type: int, default: 3}
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
  question: {type: string, default: how many apples}
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
EVALUATION = """
inputs:
  question: {type: string, default: a}
  answer: {type: string, default: a}
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
FILES = {
    "tiny/flow.dag.yaml": TINY,
    "tiny/shout.py": "from promptflow.core import tool\n\n\n@tool\ndef shout(text: str) -> str:\n"
    "    return text.upper()\n",
    "py3/flow.dag.yaml": PYTHON,
    "py3/clean.py": "from promptflow.core import tool\n\n\n@tool\ndef clean(question: str) -> str:\n"
    "    return ' '.join(question.split()).lower()\n",
    "py3/repeat.py": "from promptflow.core import tool\n\n\n@tool\ndef repeat(text: str, n: int) -> list:\n"
    "    return [text] * n\n",
    "py3/join.py": "from promptflow.core import tool\n\n\n@tool\ndef join(parts: list, head: str) -> str:\n"
    "    return head + ': ' + ', '.join(parts)\n",
    "llm/flow.dag.yaml": LLM,
    "llm/ask.jinja2": "system:\nYou are a terse assistant.\n\nuser:\n{{question}}\n",
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
        file.write_text(text.lstrip("\n"), encoding="utf-8")
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
