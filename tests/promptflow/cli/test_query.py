from __future__ import annotations

import io
from datetime import date
from typing import Any

import pytest

from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.cli.query import missing, search

ROWS = [
    {"name": "a", "n": 1, "ok": True, "made": date(2026, 1, 2)},
    {"name": "b", "n": None, "ok": False, "made": None},
]


def written(value: Any, query: str, format: str) -> str:
    out = Output(format=format, query=query, stdout=io.StringIO(), stderr=io.StringIO())
    out.result(value)
    text = out.stdout.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize(
    ("query", "format", "text"),
    [
        ("[].name", "tsv", "a\nb\n"),
        ("[].[name, n]", "tsv", "a\t1\nb\t\n"),
        ("[].{x: name, y: ok}", "tsv", "a\ttrue\nb\tfalse\n"),
        ("[0].name", "tsv", "a\n"),
        ("[0].name", "json", '"a"\n'),
        ("[0].made", "json", '"2026-01-02"\n'),
        ("[?ok].n | [0]", "json", "1\n"),
        ("[].none", "json", "[]\n"),
        ("none", "json", "null\n"),
        ("none", "tsv", ""),
        ("[].name", "quiet", "a\nb\n"),
        ("[].n", "jsonl", "1\n"),
        ("[0].{a: name}", "yaml", "a: a\n"),
        ("[].name", "table", "a\nb\n"),
    ],
)
def test_each_format(query: str, format: str, text: str) -> None:
    assert written(ROWS, query, format) == text


def test_texts_with_tabs_stay_one_cell() -> None:
    assert written({"a": "x\ty\nz"}, "a", "tsv") == "x y\\nz\n"


@pytest.mark.parametrize("query", ["[", "a b", "nosuch(@)", "tags.a-b", "length(n)"])
def test_what_is_no_query_is_a_usage_error(query: str) -> None:
    with pytest.raises(UsageError, match="--query") as caught:
        search({"n": 1}, query)
    assert "JMESPath" in caught.value.hint


def test_a_field_that_is_not_there_is_told_of() -> None:
    assert "there are: n" in missing({"n": 1}, "m.x")
    assert missing({"n": 1}, "n.x") == missing({"n": 1}, "[?a]") == missing([], "n") == ""
