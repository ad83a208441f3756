from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from promptflow.exceptions import YamlParseError
from promptflow.workspace.yamlfile import dump_yaml, edit_yaml, load_yaml, load_yaml_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("014", 14),
        ("0o14", 12),
        ("0x1F", 31),
        ("0b11", 3),
        ("1_000", 1000),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("12:30:45", "12:30:45"),
        ("1.2.3", "1.2.3"),
        ("2024-01-02", datetime.date(2024, 1, 2)),
        ("=", "="),
        ("'true'", "true"),
        ("${env:KEY}", "${env:KEY}"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    assert load_yaml_text(f"a: {text}")[0] == {"a": value}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\ufeff"])
def test_an_empty_document_is_an_empty_mapping(text: str) -> None:
    assert load_yaml_text(text)[0] == {}


def test_merge_keys_are_not_duplicates() -> None:
    data, marks = load_yaml_text("a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  b: 3\n")
    assert data["d"] == {"b": 3, "c": 2}
    assert marks.at("d", "b") == (4, 3)


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1", "duplicate key 'a'"),
        ("a:\n  b: 1\n  b: 2\n", "3:3", "duplicate key 'b'"),
        ("a:\n\tb: 1\n", "2:1", "a tab stands"),
        ("a:\n  b: 1\n  \tc: 1\n", "3:3", "a tab stands"),
        ("a: [1,\nb: c: d", "2:5", "did not find expected"),
        ("a: b: c", "1:5", "mapping values are not allowed"),
        ("a: *b", "1:4", "undefined alias"),
        ("a: !foo 1", "1:4", "unknown tag '!foo'"),
        ("a: !!python/object/apply:os.system [id]", "1:4", "unknown tag"),
        ("a: 1\n---\nb: 2", "2:1", "a second document"),
        ("a: 1\nb: \x00", "2:4", "#x0000 is not allowed"),
        ("? [a]\n: 1", "1:3", "unhashable key"),
        ("a: 2024-13-45", "1:4", "not a valid timestamp"),
        ("[" * 200_000, "1:1001", "nested more than 1000 deep"),
        ("- " * 200_000 + "1", "1:2001", "nested more than 1000 deep"),
        ("é: [", "1:5", "did not find expected"),
    ],
)
def test_errors_name_the_place(text: str, position: str, message: str) -> None:
    with pytest.raises(YamlParseError, match=message) as caught:
        load_yaml_text(text, "flow.dag.yaml")
    assert caught.value.location == f"flow.dag.yaml:{position}"


def test_bytes_that_are_not_utf_8_are_named(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes("ä: 1\nbé: caf".encode() + b"\xe9\n")
    with pytest.raises(YamlParseError, match="byte 0xe9 is not UTF-8") as caught:
        load_yaml(file)
    assert caught.value.location == f"{file}:2:8"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(YamlParseError, match="No such file"):
        load_yaml(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("keys", "position"),
    [
        ((), (1, 1)),
        (("nodes",), (1, 1)),
        (("nodes", 1), (4, 3)),
        (("nodes", 1, "inputs", "q"), (6, 5)),
        (("nodes", -1, "name"), (4, 3)),
        (("nodes", 1, "absent"), (4, 3)),
        (("nodes", 7), (1, 1)),
        (("absent", "x"), (1, 1)),
    ],
)
def test_marks_point_at_keys_and_items(keys: tuple[str | int, ...], position: tuple[int, int]) -> None:
    text = "nodes:\n- name: a\n  type: llm\n- name: b\n  inputs:\n    q: 1\n"
    assert load_yaml_text(text)[1].at(*keys) == position


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "new: 1\n"),
        ("# only a comment\n", "# only a comment\nnew: 1\n"),
        ("# top\na: 'x'  # one\n\nb: yes\n", "# top\na: 'x'  # one\n\nb: yes\nnew: 1\n"),
        ("a:\n    b:\n        c: 1\n", "a:\n    b:\n        c: 1\nnew: 1\n"),
        ("l:\n  - a: 1\n    b:\n      c: 2\n", "l:\n  - a: 1\n    b:\n      c: 2\nnew: 1\n"),
        ("l:\n- a: 1\n", "l:\n- a: 1\nnew: 1\n"),
    ],
)
def test_editing_keeps_what_a_person_wrote(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(before)
    with edit_yaml(file) as document:
        document["new"] = 1
    assert file.read_text() == after


def test_an_edit_that_fails_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\n")
    with pytest.raises(KeyError), edit_yaml(file) as document:
        document["a"] = 2
        raise KeyError
    assert file.read_text() == "a: 1\n"
    assert list(tmp_path.iterdir()) == [file]


def test_dumped_values_load_as_they_were() -> None:
    values = {"a": ["yes", "true", "1e3", "12", "~", "", "2024-01-01", "x: y", "é", "a\nb\n", " a\n b", "tab\t\n"]}
    values |= {"b": {"n": None, "t": True, "f": 1.5, "i": 3}}  # type: ignore[dict-item]
    assert load_yaml_text(dump_yaml(values))[0] == values
    assert dump_yaml({"z": "a\nb\n", "a": "yes"}) == "z: |\n  a\n  b\na: 'yes'\n"
