from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.promptflow.cli.conftest import Pf


@pytest.fixture
def traced(pf: Pf, project: Path) -> Path:
    pf("flow", "test", "--flow", "f", "--inputs", "x=1", "--collection", "mine")
    pf("run", "create", "--flow", "f", "--data", "good.jsonl", "--name", "r")
    return project


def test_traces_are_listed_newest_first(pf: Pf, traced: Path) -> None:
    assert len(json.loads(pf("trace", "list", "-o", "json")[1])) == 4
    assert [t["run"] for t in json.loads(pf("trace", "list", "--run", "r", "-o", "json")[1])] == ["r"] * 3
    mine = json.loads(pf("trace", "list", "--collection", "mine", "-o", "json")[1])
    assert [(t["name"], t["spans"], t["status"]) for t in mine] == [("f", 2, "Ok")]
    assert len(pf("trace", "list", "-r", "2", "-o", "quiet")[1].split()) == 2


def test_a_trace_is_a_tree(pf: Pf, traced: Path) -> None:
    lines = pf("trace", "show", "@latest")[1].splitlines()
    assert [line.partition(",")[0] for line in lines] == ["f (Flow)", "  a (Function)"]
    spans = json.loads(pf("trace", "show", "@latest", "-o", "json")[1])
    assert spans[1]["output"] in ("<one>", "<two>", "<three>")


def test_export_to_a_file_or_to_stdout(pf: Pf, traced: Path) -> None:
    assert len(pf("trace", "export", "--run", "r")[1].splitlines()) == 6
    assert pf("trace", "export", "-f", "otlp", "-o", "out.jsonl")[0] == 0
    requests = [json.loads(line) for line in (traced / "out.jsonl").read_text().splitlines()]
    assert len(requests) == 4
    assert all("resourceSpans" in request for request in requests)
    assert pf("trace", "export", "-o", "out.jsonl")[0] == 2


def test_deleting_says_how_much_and_asks(pf: Pf, traced: Path) -> None:
    code, out, err = pf("trace", "delete", "--run", "r")
    assert code == 2
    assert "Delete 6 spans" in err
    assert "deleted 6 spans" in pf("trace", "delete", "--run", "r", "-y")[2]
    assert len(pf("trace", "list", "-o", "quiet")[1].split()) == 1


@pytest.mark.parametrize("words", [["show", "ffff"], ["delete", "-y"], ["list", "--started-after", "tomorrow"]])
def test_what_names_no_trace(pf: Pf, words: list[str]) -> None:
    assert pf("trace", *words)[0] == 1
