"""The first request that is proposed for a flow is one that it answers."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from promptflow.serving.example import curl, example
from promptflow.serving.export.build import definition_of
from promptflow.serving.loaded import flow_file
from tests.promptflow.flowkit import dag, write

YAML = """
inputs:
  "it's": {type: string}
  n: {type: int}
  price: {type: double}
  flag: {type: bool}
  many: {type: list}
  some: {type: object}
  empty: {type: string, default: }
  given: {type: string, default: known}
outputs: {all: {type: object, reference: "${a.output}"}}
nodes:
- name: a
  type: python
  source: {type: code, path: a.py}
  inputs: {w: "${inputs.it's}", n: "${inputs.n}", price: "${inputs.price}", flag: "${inputs.flag}", given: "${inputs.given}"}
"""
CODE = "from promptflow.core import tool\n@tool\ndef a(**values): return values\n"


def asked(folder: Path) -> tuple[str, dict[str, object]]:
    """The URL and the body of the proposed command, as a shell reads it."""
    file = flow_file(folder)
    words = shlex.split(curl("http://h:1", file, definition_of(file)))
    return words[1], json.loads(words[-1])


def test_every_input_that_must_be_given_is_and_the_flow_answers(tmp_path, serve):
    folder = dag(tmp_path, YAML, a_py=CODE)

    url, body = asked(folder)

    assert url == "http://h:1/score"
    assert set(body) == {"it's", "n", "price", "flag", "many", "some", "empty"}
    answer = serve(folder).post("/score", json=body)
    assert answer.status_code == 200 and answer.json()["all"]["given"] == "known"


def test_a_sample_beside_the_flow_comes_first(tmp_path):
    folder = write(dag(tmp_path, YAML, a_py=CODE), samples_json='[{"n": 7}, {"n": 8}]')

    assert asked(folder)[1] == {"n": 7}


@pytest.mark.parametrize("samples", ["{}", "[]", "3"])
def test_samples_that_are_no_list_are_none(tmp_path, samples):
    folder = write(dag(tmp_path, YAML, a_py=CODE), samples_json=samples)

    file = flow_file(folder)
    assert "n" in example(file, definition_of(file))


def test_a_function_is_asked_without_inputs_as_only_its_code_knows_them(tmp_path):
    folder = write(tmp_path, flow_flex_yaml="entry: code:run\n", code_py="raise SystemExit('imported')\n")

    assert asked(folder)[1] == {}
