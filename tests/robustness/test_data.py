"""Data files that are empty, torn, mixed or huge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.robustness.conftest import Pf, flow, outputs, rows


def test_the_line_that_is_broken_is_named(folder: Path, pf: Pf) -> None:
    flow(folder / "f")
    for name, data, place in [
        ("a.jsonl", b'{"x": "1"}\n{"x": broken}\n{"x": "3"}\n', "a.jsonl:2: no valid JSON"),
        ("a.json", b'[\n{"x": "1"},\n{"x": broken}]', "a.json:3: no valid JSON"),
        ("b.jsonl", b'{"x": "1"}\n[1]\n', "b.jsonl:2: expected a JSON object"),
        ("c.jsonl", b'{"x": "caf\xe9"}\n', "c.jsonl:1: the text is not UTF-8"),
        ("c.csv", b"x,n\ncaf\xe9,2\n", "c.csv:2: the text is not UTF-8"),
        ("d.csv", b"x,n\n1,2,3\n", "d.csv:2: expected 2 cells, found 3"),
        ("e.jsonl", b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}\n", "e.jsonl:1: no valid JSON: nested too deeply"),
        ("f.json", b"null", "f.json:1: expected a list of objects, found null"),
    ]:
        (folder / name).write_bytes(data)
        assert pf("run", "create", "--flow", "f", "--data", name).is_clear_error(place), name


@pytest.mark.parametrize("name", ["empty.jsonl", "empty.csv", "header.csv", "blank.jsonl", "list.json", "nothing"])
def test_data_without_rows_is_an_error(folder: Path, pf: Pf, name: str) -> None:
    flow(folder / "f")
    if name == "nothing":
        (folder / name).mkdir()
    else:
        texts = {"header.csv": "x,n\n", "blank.jsonl": "\n\n", "list.json": "[]"}
        (folder / name).write_text(texts.get(name, ""), encoding="utf-8")
    told = pf("run", "create", "--flow", "f", "--data", name, "--name", "r")
    assert told.is_clear_error("Couldn't find any inputs data", name)
    assert pf("run", "show", "-n", "r").json()["status"] == "Failed"


def test_a_missing_column_is_named(folder: Path, pf: Pf) -> None:
    flow(folder / "f")
    (folder / "d.jsonl").write_text('{"y": 1}\n', encoding="utf-8")
    assert pf("run", "create", "--flow", "f", "--data", "d.jsonl").is_clear_error("${data.x}")
    mapped = pf("run", "create", "--flow", "f", "--data", "d.jsonl", "--column-mapping", "x=${data.z}")
    assert mapped.is_clear_error("${data.z}")


def test_data_that_is_not_there_is_named(folder: Path, pf: Pf) -> None:
    flow(folder / "f")
    assert pf("run", "create", "--flow", "f", "--data", "nope.jsonl").is_clear_error("nope.jsonl does not exist")
    (folder / "loop").symlink_to("loop")
    assert pf("run", "create", "--flow", "f", "--data", "loop").code == 1
    assert pf("run", "list").json() == []


def test_cells_of_every_kind_and_size_arrive(folder: Path, home: Path, pf: Pf) -> None:
    flow(folder / "f", "return [type(x).__name__, len(str(x))]")
    big = "c" * 100_000
    rows(folder / "d.jsonl", 1, None, [1], {"a": 1}, True, big, "")
    assert pf("run", "create", "--flow", "f", "--data", "d.jsonl", "--name", "r").code == 0
    assert [row["o"][1] for row in outputs(home, "r")] == [1, 4, 3, 8, 4, 100_000, 0]


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("bom.jsonl", b'\xef\xbb\xbf{"x": "1"}\n', ["1"]),
        ("bom.csv", b"\xef\xbb\xbfx,n\n1,2\n", ["1"]),
        ("crlf.jsonl", b'{"x": "1"}\r\n{"x": "2"}\r\n', ["1", "2"]),
        ("separators.jsonl", '{"x": "a\u2028b\u0085c"}\n'.encode(), ["a\u2028b\u0085c"]),
        ("half.jsonl", b'{"x": "a\\ud800b"}\n', ["a\ud800b"]),
        ("zero.csv", b"x,n\na\x00b,2\n", ["a\x00b"]),
        ("big.csv", b"x,n\n" + b"c" * 200_000 + b",1\n", ["c" * 200_000]),
        ("nan.jsonl", b'{"x": NaN}\n{"x": Infinity}\n', ["nan", "inf"]),
    ],
)
def test_odd_but_readable_data_is_read(
    folder: Path, home: Path, pf: Pf, name: str, data: bytes, found: list[str]
) -> None:
    flow(folder / "f")
    (folder / name).write_bytes(data)
    told = pf("run", "create", "--flow", "f", "--data", name, "--name", "r")
    assert told.code == 0
    assert [row["o"] for row in outputs(home, "r")] == found


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", ["is not valid JSON"]), ("", ["is not valid JSON"]), ("[1]", ["must hold one JSON object"])],
)
def test_input_files_that_are_torn(folder: Path, pf: Pf, text: str, words: list[str]) -> None:
    flow(folder / "f")
    (folder / "in.json").write_text(text, encoding="utf-8")
    assert pf("flow", "test", "--flow", "f", "--inputs", "in.json").is_clear_error("in.json", *words)


def test_an_input_file_that_is_too_deep(folder: Path, pf: Pf) -> None:
    flow(folder / "f")
    (folder / "in.json").write_text(json.dumps({"x": 1}).replace("1", "[" * 3000 + "]" * 3000), encoding="utf-8")
    assert pf("flow", "test", "--flow", "f", "--inputs", "in.json").is_clear_error("in.json")
