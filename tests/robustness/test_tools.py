"""Tool files that are broken, and tools that misbehave: their line fails, nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.robustness.conftest import Pf, flow, outputs, rows, run_folder


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"def a(:\n", ["SyntaxError", "a.py:1:"]),
        (b"import no_such_package\n", ["No module named 'no_such_package'", "a.py:1", "hint: pip install"]),
        (b"import sys\nsys.exit(3)\n", ["sys.exit(3)", "a.py", "hint:"]),
        (b"\n1/0\n", ["division by zero", "a.py:2"]),
        (b"x = 1\x00\n", ["null bytes", "a.py"]),
        (b"def a(x): return x\n", ["No tool found", "hint: put @tool"]),
    ],
)
def test_a_broken_file_stops_before_anything_is_recorded(folder: Path, pf: Pf, source: bytes, words: list[str]) -> None:
    flow(folder / "f")
    (folder / "f" / "a.py").write_bytes(source)
    rows(folder / "d.jsonl", "1")
    assert pf("flow", "test", "--flow", "f", "--inputs", "x=1").is_clear_error("  at ", *words)
    assert pf("run", "create", "--flow", "f", "--data", "d.jsonl").is_clear_error(*words)
    assert pf("run", "list").json() == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit(3)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise type('Stop', (BaseException,), {})('base')", "(Stop) base"),
        ("raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})()", "Execution failure in 'a'"),
        ("raise ValueError('one\\ntwo')", "(ValueError) one"),
        ("return a(x)", "maximum recursion depth exceeded"),
    ],
)
def test_what_a_tool_raises_fails_its_line_only(folder: Path, home: Path, pf: Pf, body: str, message: str) -> None:
    flow(folder / "f", f"if x == 'bad':\n    {body}\nreturn x")
    rows(folder / "d.jsonl", "1", "bad", "3")
    told = pf("run", "create", "--flow", "f", "--data", "d.jsonl", "--name", "r")
    assert told.code == 3
    assert told.json()["failed_lines"] == 1
    assert message in told.json()["error"]["message"]
    assert outputs(home, "r") == [{"o": "1", "line_number": 0}, {"o": "3", "line_number": 2}]


def test_an_error_points_to_the_users_own_line(folder: Path, pf: Pf) -> None:
    flow(folder / "f", "import json\nreturn json.loads(x)")
    assert pf("flow", "test", "--flow", "f", "--inputs", "x={").is_clear_error("JSONDecodeError", f"{folder}/f/a.py:7")


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("d = {}\nd['me'] = d\nreturn {'d': d}", "<dict>"),
        ("d = []\nfor _ in range(5000): d = [d]\nreturn d", "<list>"),
        ("return type('B', (), {'__repr__': lambda self: 1 / 0})()", "<B: ZeroDivisionError>"),
        ("return 'a\\ud800b'", "\\ud800"),
        ("return {'v': float('nan')}", "null"),
        ("return 2 ** 200", str(2**200)),
    ],
    ids=["circular", "deep", "no repr", "half a character", "nan", "huge"],
)
def test_outputs_without_json_are_shown_as_far_as_they_go(
    folder: Path, home: Path, pf: Pf, body: str, shown: str
) -> None:
    flow(folder / "f", body)
    rows(folder / "d.jsonl", "1")
    tested = pf("flow", "test", "--flow", "f", "--inputs", "x=1")
    assert tested.code == 0
    assert shown in tested.out
    json.loads(tested.out)
    assert pf("run", "create", "--flow", "f", "--data", "d.jsonl", "--name", "r").code == 0
    assert shown in (run_folder(home, "r") / "outputs.jsonl").read_text(encoding="utf-8")
    assert pf("run", "show-details", "--name", "r").code == 0


def test_inputs_may_be_deep_up_to_a_point(folder: Path, pf: Pf) -> None:
    flow(folder / "f", "return len(str(x))")
    for depth, code in ((250, 0), (900, 1)):
        (folder / "d.jsonl").write_text('{"x": ' + "[" * depth + "]" * depth + "}\n", encoding="utf-8")
        told = pf("run", "create", "--flow", "f", "--data", "d.jsonl")
        assert told.code == code
    assert told.is_clear_error("d.jsonl: a row is nested too deeply")


@pytest.mark.parametrize("body", ["while x == 'slow': pass", "if x == 'slow': time.sleep(1000)"])
def test_a_node_has_its_timeout(folder: Path, spawn: Pf, body: str) -> None:
    flow(folder / "f", f"{body}\nreturn x", more="  timeout: 0.3\n")
    told = spawn("flow", "test", "--flow", "f", "--inputs", "x=slow")
    assert told.is_clear_error("Node 'a' did not end within 0.3 seconds", "at node a", "hint: raise the node's timeout")


@pytest.mark.parametrize("body", ["while x == 'slow': pass", "if x == 'slow': time.sleep(1000)"])
def test_a_line_has_its_timeout(folder: Path, home: Path, spawn: Pf, body: str) -> None:
    flow(folder / "f", f"{body}\nreturn x")
    rows(folder / "d.jsonl", "1", "slow", "3")
    told = spawn("run", "create", "--flow", "f", "--data", "d.jsonl", "--name", "r", PF_LINE_TIMEOUT_SEC="0.5")
    assert told.code == 3
    assert "Line 1 execution timeout" in told.json()["error"]["message"]
    assert [row["o"] for row in outputs(home, "r")] == ["1", "3"]


@pytest.mark.parametrize("value", ["abc", "-1", "0", "nan"])
def test_a_timeout_that_is_none_is_named(folder: Path, pf: Pf, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PF_LINE_TIMEOUT_SEC", value)
    flow(folder / "f")
    rows(folder / "d.jsonl", "1")
    assert pf("run", "create", "--flow", "f", "--data", "d.jsonl").is_clear_error("PF_LINE_TIMEOUT_SEC", repr(value))


def test_fifty_megabytes_of_output_stay_out_of_stdout_and_of_the_disk(folder: Path, home: Path, spawn: Pf) -> None:
    flow(folder / "f", "for _ in range(50): sys.stdout.write('y' * 1_000_000)\nreturn x")
    rows(folder / "d.jsonl", "1", "2")
    told = spawn("run", "create", "--flow", "f", "--data", "d.jsonl", "--name", "r")
    assert told.json()["status"] == "Completed"
    kept = sum(file.stat().st_size for file in run_folder(home, "r").rglob("*") if file.is_file())
    assert kept < 3_000_000
    assert "more characters left out" in (run_folder(home, "r") / "flow_logs" / "000000000.log").read_text()


def test_whatever_writes_to_stdout_leaves_the_result_alone(folder: Path, spawn: Pf) -> None:
    noise = "import subprocess\nprint('p')\nos.write(1, b'raw')\nsubprocess.run(['echo', 'child'])\nsys.stdout.close()"
    flow(folder / "f", f"{noise}\nreturn x")
    rows(folder / "d.jsonl", "1", "2")
    assert spawn("flow", "test", "--flow", "f", "--inputs", "x=1").json() == {"o": "1"}
    assert spawn("run", "create", "--flow", "f", "--data", "d.jsonl").json()["failed_lines"] == 0
