"""One parse at the edge: what is read, and every error of a file at once with its place."""

import textwrap

import pytest

from promptflow.contracts.flow_yaml import load_flow_file
from promptflow.contracts.reference import Reference
from promptflow.contracts.tool import ToolType, ValueType
from promptflow.exceptions import (
    DuplicateNodeName,
    EmptyOutputReference,
    InputReferenceNotFound,
    InvalidFlowError,
    NodeCircularDependency,
    NodeReferenceNotFound,
    OutputReferenceNotFound,
    UserErrorException,
    YamlParseError,
)

GOOD = """
inputs:
  question: {type: string, default: hi}
  n: {type: int}
outputs:
  answer: {type: string, reference: "${ask.output}"}
nodes:
- name: ask
  type: python
  source: {type: code, path: ask.py}
  inputs:
    question: ${inputs.question}
    literal: say ${inputs.question}
    flag: yes
"""


def write(folder, text):
    file = folder / "flow.dag.yaml"
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return file


def node(name, **inputs):
    lines = "\n".join(f"    {k}: {v}" for k, v in inputs.items())
    return f"- name: {name}\n  type: python\n  source: {{type: code, path: a.py}}\n  inputs:\n{lines or '    x: 1'}\n"


def test_a_flow_is_read(tmp_path):
    flow = load_flow_file(write(tmp_path, GOOD))

    assert flow.inputs["question"].type is ValueType.STRING and flow.inputs["question"].default == "hi"
    assert not flow.inputs["n"].has_default
    ask = flow.node("ask")
    assert ask.type is ToolType.PYTHON and ask.source.path == "ask.py"
    assert isinstance(ask.inputs["question"], Reference)
    assert ask.inputs["literal"] == "say ${inputs.question}"
    assert ask.inputs["flag"] == "yes"  # YAML 1.2: yes is text


def test_unknown_keys_are_warnings_with_the_nearest_known_key(tmp_path):
    flow = load_flow_file(write(tmp_path, GOOD.replace("  type: python\n", "  type: python\n  agregation: true\n")))

    [warning] = flow.warnings
    assert "agregation" in warning.message and warning.hint == "did you mean aggregation?" and warning.line == 10


@pytest.mark.parametrize(
    ("text", "error", "line", "said"),
    [
        ("nodes:\n" + node("a", x="${b.output}") + node("b", x="${a.output}"), NodeCircularDependency, 2, "a -> b"),
        ("nodes:\n" + node("a", x="${a.output}"), NodeCircularDependency, 2, "a -> a"),
        ("nodes:\n" + node("a", x="${zz.output}"), NodeReferenceNotFound, 6, "zz"),
        ("nodes:\n" + node("a", x="${inputs.q}"), InputReferenceNotFound, 6, "'q'"),
        ("nodes:\n" + node("a") + node("a"), DuplicateNodeName, 7, "'a'"),
        (
            "outputs:\n  o: {type: string, reference: '${z.output}'}\nnodes:\n" + node("a"),
            OutputReferenceNotFound,
            2,
            "'z'",
        ),
        ("outputs:\n  o: {type: string}\nnodes:\n" + node("a"), EmptyOutputReference, 2, "'o'"),
    ],
)
def test_a_graph_that_cannot_run_is_refused_with_class_and_line(tmp_path, text, error, line, said):
    with pytest.raises(error) as caught:
        load_flow_file(write(tmp_path, text))

    assert said in str(caught.value)
    assert f"flow.dag.yaml:{line}:" in caught.value.location


def test_every_error_of_a_file_is_reported_at_once(tmp_path):
    text = """
    inputs:
      q: {type: strng}
    outputs:
      o: {type: string, reference: "${a.output}"}
    nodes:
    - name: a
      type: pyton
      source: {type: code, path: a.py}
    - name: b
      type: python
    - type: python
    """
    with pytest.raises(UserErrorException) as caught:
        load_flow_file(write(tmp_path, text))

    problems = caught.value.problems
    assert [p.line for p in problems] == [3, 7, 10, 12]
    assert [p.hint for p in problems[:2]] == ["did you mean string?", "did you mean python?"]
    assert "and 3 more" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"nodes:\n\t- name: a\n", "tab"),
        (b"nodes: [\n", "flow.dag.yaml"),
        (b"\xff\xfe nodes: []\n", "UTF-8"),
        (b"nodes: []\nnodes: []\n", "nodes"),
    ],
)
def test_a_file_that_is_no_yaml_is_refused_with_its_place(tmp_path, content, said):
    file = tmp_path / "flow.dag.yaml"
    file.write_bytes(content)

    with pytest.raises(YamlParseError) as caught:
        load_flow_file(file)

    error = caught.value
    assert said.lower() in f"{error} {error.location} {error.hint}".lower()


@pytest.mark.parametrize(
    "content", ["", "just text", "- a\n- b\n", "nodes: 3", "nodes:\n- 3\n", "inputs: [1]\nnodes: []"]
)
def test_yaml_of_another_shape_is_a_user_error(tmp_path, content):
    with pytest.raises(UserErrorException):
        load_flow_file(write(tmp_path, content))


VARIANTS = """
nodes:
- name: ask
  use_variants: true
node_variants:
  ask:
    default_variant_id: v0
    variants:
      v0: {node: {type: prompt, source: {type: code, path: v0.jinja2}, inputs: {}}}
      v1: {node: {type: prompt, source: {type: code, path: v1.jinja2}, inputs: {}}}
"""


def test_the_default_variant_stands_in_and_another_can_be_chosen(tmp_path):
    flow = load_flow_file(write(tmp_path, VARIANTS))

    assert flow.node("ask").source.path == "v0.jinja2"
    assert flow.with_variant("${ask.v1}").node("ask").source.path == "v1.jinja2"


@pytest.mark.parametrize("variant", ["${ask.nope}", "${zz.v1}", "ask"])
def test_a_variant_that_is_not_there_is_refused(tmp_path, variant):
    flow = load_flow_file(write(tmp_path, VARIANTS))

    with pytest.raises(InvalidFlowError):
        flow.with_variant(variant)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("timeout: -1", "timeout"),
        ("retry: {max_retries: x}", "retry"),
        ("foreach: text", "foreach"),
        ("foreach: {over: '${inputs.n}', concurrency: 0}", "concurrency"),
        ("activate: {is: 1}", "when"),
        ("activate: {when: '${inputs.n}'}", "'is'"),
        ("activate: {when: '${inputs.n} ==', is: 1}", "not valid"),
        ("activate: {when: '${zz.output} == 1'}", "zz"),
        ("source: {type: cod, path: x}", "cod"),
    ],
)
def test_wrong_additions_are_refused(tmp_path, extra, said):
    text = GOOD.replace("  inputs:\n    question", f"  {extra}\n  inputs:\n    question")
    if extra.startswith("source"):
        text = text.replace("  source: {type: code, path: ask.py}\n", "")

    with pytest.raises(UserErrorException, match=said):
        load_flow_file(write(tmp_path, text))


def test_wrong_types_do_not_hide_wrong_references(tmp_path):
    text = "inputs: {q: {type: strng}}\nnodes:\n" + node("a", x="${zz.output}")

    with pytest.raises(UserErrorException) as caught:
        load_flow_file(write(tmp_path, text))

    assert [p.line for p in caught.value.problems] == [1, 7]
