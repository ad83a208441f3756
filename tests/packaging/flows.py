"""Flows for the environments of these tests, written into a folder."""

from __future__ import annotations

from pathlib import Path

PYTHON = {
    "flow.dag.yaml": """\
inputs:
  text: {type: string, default: hello}
outputs:
  loud: {type: string, reference: "${louder.output}"}
nodes:
- name: louder
  type: python
  source: {type: code, path: louder.py}
  inputs: {text: "${inputs.text}"}
""",
    "louder.py": """\
from promptflow.core import tool


@tool
def louder(text: str) -> str:
    return text.upper()
""",
    "data.jsonl": '{"text": "a"}\n{"text": "b"}\n',
}

# an llm node, two package tools, and a tool that imports what promptflow-tools offers
TOOLS = {
    "flow.dag.yaml": """\
inputs:
  question: {type: string, default: why}
outputs:
  answer: {type: string, reference: "${ask.output}"}
  vector: {type: list, reference: "${embed.output}"}
  found: {type: object, reference: "${search.output}"}
  own: {type: object, reference: "${own.output}"}
nodes:
- name: ask
  type: llm
  source: {type: code, path: ask.jinja2}
  inputs: {model: m, question: "${inputs.question}"}
  connection: model
  api: chat
- name: embed
  type: python
  source: {type: package, tool: promptflow.tools.embedding.embedding}
  inputs: {connection: model, input: "${inputs.question}", model: text-embedding-ada-002}
- name: search
  type: python
  source: {type: package, tool: promptflow.tools.serpapi.SerpAPI.search}
  inputs: {connection: serp, query: "${inputs.question}", num: 1, engine: google, safe: "off"}
- name: own
  type: python
  source: {type: code, path: own.py}
  inputs: {connection: model, question: "${inputs.question}"}
""",
    "ask.jinja2": "user:\n{{question}}\n",
    "own.py": """\
from promptflow import tool
from promptflow.connections import OpenAIConnection
from promptflow.tools.aoai import AzureOpenAI
from promptflow.tools.common import parse_chat, render_jinja_template
from promptflow.tools.exception import ChatAPIInvalidRole
from promptflow.tools.openai import OpenAI, chat


@tool
def own(connection: OpenAIConnection, question: str) -> dict:
    try:
        refused = str(parse_chat("no role"))
    except ChatAPIInvalidRole as error:
        refused = type(error).__name__
    return {
        "said": chat(connection=connection, prompt="user:\\n{{q}}", model="m", q=question),
        "rendered": render_jinja_template("{{q}}!", q=question),
        "refused": refused,
        "classes": [AzureOpenAI.__name__, OpenAI.__name__],
    }
""",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder
