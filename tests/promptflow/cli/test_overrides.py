from __future__ import annotations

from typing import Any

import pytest

from promptflow.cli.errors import UsageError
from promptflow.cli.overrides import apply, parse_path

SPEC = {"name": "r", "tags": {"a": "1"}, "nodes": [{"inputs": {"x": 0}}, {"inputs": {}}]}


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a", ("a",)),
        ("a.b-c.d e", ("a", "b-c", "d e")),
        ("nodes[0].inputs.x", ("nodes", 0, "inputs", "x")),
        ("a[1][2]", ("a", 1, 2)),
        ('properties."pf.x".y', ("properties", "pf.x", "y")),
        ("properties['pf.x']", ("properties", "pf.x")),
    ],
)
def test_paths(text: str, steps: tuple[str | int, ...]) -> None:
    assert parse_path(text) == steps


def test_a_flat_mapping_has_nothing_below_its_keys() -> None:
    paths = {"tags.a.b": "1", 'tags."c.d"': "2", "nodes[0].inputs.x.y": "3"}
    changed = apply({"nodes": [{"inputs": {}}]}, paths, flat=["tags"])
    assert changed == {"tags": {"a.b": 1, "c.d": 2}, "nodes": [{"inputs": {"x": {"y": 3}}}]}


@pytest.mark.parametrize("text", ['a."b', 'a."b"c', "", ".a", "[0]", "a[x]", "a[0", "a..b"])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(UsageError):
        parse_path(text)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("3", 3),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('"3"', "3"),
        ("text", "text"),
        ("${data.q}", "${data.q}"),
    ],
)
def test_values_are_json_where_they_can_be(word: str, value: Any) -> None:
    assert apply({}, {"a": word}) == {"a": value}


def test_the_spec_is_copied_and_lists_are_indexed() -> None:
    changed = apply(SPEC, {"nodes[0].inputs.x": "1", "tags.b": "2", "new.deep": "x"})
    assert changed["nodes"][0]["inputs"]["x"] == 1
    assert changed["tags"] == {"a": "1", "b": 2}
    assert changed["new"] == {"deep": "x"}
    assert SPEC["tags"] == {"a": "1"}


def test_texts_stay_texts_where_types_are_not_wanted() -> None:
    assert apply({"configs": {"a": "1"}}, {"configs.a": "7"}, typed=False) == {"configs": {"a": "7"}}


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("tgas.x", "did you mean tags?"),
        ("sad.x", "one of: name, nodes, tags"),
        ("nodes[7].inputs.x", "the list has 2 items, 0 is the first"),
        ("name.x", ""),
        ("tags[0]", ""),
    ],
)
def test_an_unknown_path_is_a_usage_error(path: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        apply(SPEC, {path: "1"}, known=["name", "tags", "nodes"])
    assert caught.value.hint == hint
