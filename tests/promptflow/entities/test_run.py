import re
from dataclasses import dataclass

import pytest

from promptflow.entities import FlowContext, Run
from promptflow.entities.flow_files import flow_kind
from promptflow.entities.run import run_name
from promptflow.exceptions import InvalidRunError, InvalidRunStatusError, UserErrorException


@pytest.fixture
def flow(tmp_path):
    folder = tmp_path / "my flow"
    folder.mkdir()
    (folder / "flow.dag.yaml").write_text("nodes: []\n")
    return folder


def test_a_run_is_named_after_flow_and_variant(flow):
    assert re.fullmatch(r"my_flow_variant_0_\d{8}_\d{6}_\d{6}", Run(flow=flow, data="d").name)
    assert Run(flow=flow, data="d", variant="${a.v1}").name.startswith("my_flow_v1_")
    assert Run(flow=flow, data="d", name="given").name == "given"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "r"),
        ("plain", "plain"),
        ("${variant_id}/${run}", "v1/base"),
        ("at ${timestamp}", r"at \d{12}"),
        ("${unknown}", r"\$\{unknown\}"),
    ],
)
def test_display_names_have_macros(flow, text, expected):
    run = Run(flow=flow, name="r", run="base", variant="${a.v1}", display_name=text)
    assert re.fullmatch(expected, run.formatted_display_name())


@dataclass
class Model:
    name: str


def test_init_must_be_json(flow):
    assert Run(flow=flow, init={"model": Model("m")}).init == {"model": Model("m")}
    for bad in ({"x": object()}, ["x"]):
        with pytest.raises(UserErrorException, match="Invalid init kwargs"):
            Run(flow=flow, init=bad)


def test_a_run_that_was_not_submitted_has_no_results(flow):
    run = Run(flow=flow, data="d")
    assert (run.status, run.duration) == ("NotStarted", None)
    assert run._to_dict()["output"] is None
    with pytest.raises(InvalidRunError, match="has not been submitted"):
        run.folder  # noqa: B018
    with pytest.raises(InvalidRunStatusError, match="wait for its completion"):
        run.check_completed()


def test_a_run_is_meant_by_name_or_object(flow):
    assert (run_name("r"), run_name(Run(flow=flow, name="s"))) == ("r", "s")
    with pytest.raises(InvalidRunError):
        run_name(3)


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("flow.dag.yaml", "nodes: []", "dag"),
        ("flow.dag.yml", "nodes: []", "dag"),
        ("flow.dag.yaml", "entry: m:f", "flex"),
        ("flow.flex.yaml", "entry: m:f", "flex"),
        ("other.yaml", "nodes: []", "dag"),
        ("other.yaml", "entry: m:f", "flex"),
        ("ask.prompty", "---", "prompty"),
    ],
)
def test_the_kind_of_a_flow(tmp_path, name, text, kind):
    (tmp_path / name).write_text(text)
    assert flow_kind(tmp_path / name) == kind
    if name.startswith("flow."):
        assert flow_kind(tmp_path) == kind


def test_contexts_compare_by_value():
    assert FlowContext(variant="${a.b}") == FlowContext(variant="${a.b}", connections=None, overrides=None)
    assert FlowContext(streaming=True) != FlowContext()
