"""Flex flows: functions and classes as flows."""

import asyncio

import pytest

from promptflow.contracts.flex import load_flex_file
from promptflow.exceptions import (
    FlexFlowExecutionError,
    FlowEntryInitializationError,
    GenerateFlowMetaJsonError,
    InputNotFound,
    InputTypeError,
    InvalidFlexFlowEntry,
    ValidationException,
)
from promptflow.executor.loader import load_executor
from tests.promptflow.flowkit import write

CODE = """
from dataclasses import dataclass
from typing import TypedDict

@dataclass
class Answer:
    text: str
    length: int

class Out(TypedDict):
    r: str

class C:
    def __init__(self, a: str = "A"):
        self.a = a

    def __call__(self, q: str, k: int = 2) -> Out:
        return {"r": self.a + q * k}

    def __aggregate__(self, results):
        return {"count": len(results)}

def plain(q: str = "dq") -> str:
    return "fn:" + q

def answer(q: str) -> Answer:
    return Answer(q, len(q))

def stream(q: str):
    for c in q:
        yield c

async def later(q: str):
    return q + "!"

async def later_stream(q: str):
    for c in q:
        yield c

def fails(q: str):
    raise ValueError("no " + q)

def returns_dict(q: str) -> dict:
    return {}

def optional(q: str, extra: str = None):
    return [q, extra]
"""


def flow(folder, entry, **keys):
    lines = "".join(f"{k}: {v}\n" for k, v in keys.items())
    return write(folder, flow_flex_yaml=f"entry: mm:{entry}\n{lines}", mm_py=CODE)


def run(folder, row, init=None):
    executor = load_executor(folder, init=init)
    with executor.activated():
        return executor.run_line(row)


@pytest.mark.parametrize(
    ("entry", "row", "expected", "recorded"),
    [
        ("C", {"q": "z"}, {"r": "Azz"}, {"r": "Azz"}),
        ("C", {"q": "z", "k": "3"}, {"r": "Azzz"}, {"r": "Azzz"}),
        ("plain", {}, "fn:dq", {"output": "fn:dq"}),
        ("stream", {"q": "ab"}, "ab", {"output": "ab"}),
        ("later", {"q": "ab"}, "ab!", {"output": "ab!"}),
        ("later_stream", {"q": "ab"}, "ab", {"output": "ab"}),
        ("optional", {"q": "x", "unknown": 1}, ["x", None], {"output": ["x", None]}),
    ],
)
def test_every_kind_of_entry_runs(tmp_path, entry, row, expected, recorded):
    result = run(flow(tmp_path, entry), row)

    assert result.exception is None
    assert result.output == expected and result.run_info.output == recorded


def test_a_dataclass_stays_one_and_is_a_dict_in_records(tmp_path):
    result = run(flow(tmp_path, "answer"), {"q": "abc"})

    assert result.output.length == 3 and result.run_info.output == {"text": "abc", "length": 3}


def test_streams_are_left_to_the_caller_who_asks(tmp_path):
    for entry in ("stream", "later_stream"):
        executor = load_executor(flow(tmp_path / entry, entry))
        assert list(executor.run_line({"q": "ab"}, streaming=True).output) == ["a", "b"]


def test_an_entry_runs_on_the_callers_event_loop(tmp_path):
    executor = load_executor(flow(tmp_path, "later"))

    assert asyncio.run(executor.run_line_async({"q": "x"})).output == "x!"


def test_init_values_reach_the_class_and_defaults_of_the_yaml_count(tmp_path):
    assert run(flow(tmp_path / "a", "C"), {"q": "z"}, init={"a": "B"}).output == {"r": "Bzz"}
    assert run(flow(tmp_path / "b", "C", init="{a: {type: string, default: Y}}"), {"q": "z"}).output == {"r": "Yzz"}


def test_samples_stand_in_for_missing_inputs_and_init(tmp_path):
    folder = flow(tmp_path, "C", sample="{init: {a: S}, inputs: '${file:in.json}'}")
    (folder / "in.json").write_text('{"q": "sq"}')

    assert run(folder, {}).output == {"r": "Ssqsq"}


def test_aggregate_gets_the_results_and_its_items_are_metrics(tmp_path):
    executor = load_executor(flow(tmp_path, "C"))
    lines = [executor.run_line({"q": q}) for q in "ab"]

    values = {"__results__": [line.aggregation_inputs["__results__"] for line in lines]}
    assert executor.run_aggregation({}, values).metrics == {"count": 2}


def test_errors_of_user_code_carry_file_and_line(tmp_path):
    result = run(flow(tmp_path, "fails"), {"q": "x"})

    assert isinstance(result.exception, FlexFlowExecutionError)
    assert "mm.py:" in result.exception.location
    assert result.run_info.error["additionalInfo"][0]["type"] == "FlexFlowExecutionErrorDetails"


def test_missing_and_mistyped_inputs_fail_the_line(tmp_path):
    assert isinstance(run(flow(tmp_path, "C"), {}).exception, InputNotFound)
    assert isinstance(run(flow(tmp_path, "C"), {"q": "x", "k": "many"}).exception, InputTypeError)


@pytest.mark.parametrize(
    ("yaml", "error"),
    [
        ("entry: mm:NOPE\n", GenerateFlowMetaJsonError),
        ("entry: nomodule:f\n", GenerateFlowMetaJsonError),
        ("entry: mm:returns_dict\n", GenerateFlowMetaJsonError),
        ("entry: mm\n", InvalidFlexFlowEntry),
        ("path: x\nentry: mm:plain\n", ValidationException),
        ("display_name: x\n", InvalidFlexFlowEntry),
        ("entry: mm:plain\ninputs: {q: {type: image}}\n", ValidationException),
        ("- a\n", ValidationException),
    ],
)
def test_what_cannot_be_a_flex_flow_is_refused(tmp_path, yaml, error):
    with pytest.raises(error):
        load_executor(write(tmp_path, flow_flex_yaml=yaml, mm_py=CODE))


def test_every_problem_of_a_flex_file_is_reported(tmp_path):
    folder = write(tmp_path, flow_flex_yaml="entri: mm:plain\nentry: bad\ninputs: {q: {type: strng}}\n")

    with pytest.raises(ValidationException) as caught:
        load_flex_file(folder / "flow.flex.yaml")
    assert [p.line for p in caught.value.problems] == [1, 2, 3]


def test_init_errors_do_not_show_secrets(tmp_path):
    with pytest.raises(FlowEntryInitializationError) as caught:
        load_executor(flow(tmp_path, "C"), init={"nope": {"api_key": "very-secret"}})
    assert "very-secret" not in str(caught.value)


def test_callables_and_entries_are_flows_too(tmp_path):
    def double(q: str):
        return q * 2

    class Callable:
        def __call__(self, q: str):
            return q + "?"

    flow(tmp_path, "plain")
    assert load_executor(double).run_line({"q": "a"}).output == "aa"
    assert load_executor(Callable()).run_line({"q": "a"}).output == "a?"
    assert load_executor("mm:plain", code=tmp_path).run_line({"q": "a"}).output == "fn:a"


def test_a_module_of_the_flow_wins_over_an_installed_one_of_the_same_name(tmp_path):
    folder = write(tmp_path, flow_flex_yaml="entry: colorsys:f\n", colorsys_py="def f(): return 'mine'\n")
    import colorsys  # noqa: F401  (the standard library's is loaded already)

    assert run(folder, {}).output == "mine"
