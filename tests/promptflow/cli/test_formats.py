from __future__ import annotations

import io
import json

import pytest

from promptflow.cli import formats, style, table
from promptflow.workspace.yamlfile import load_yaml_text

ROWS = [{"name": "a", "n": 1, "tags": {"k": "v"}}, {"name": "b\tc\nd", "n": None, "more": [1, 2]}]


def test_jsonl_has_one_object_per_line() -> None:
    assert [json.loads(line) for line in formats.to_jsonl(ROWS).splitlines()] == ROWS


def test_yaml_reads_back_as_it_was() -> None:
    assert load_yaml_text(formats.to_yaml(ROWS))[0] == ROWS


def test_tsv_has_one_line_per_row_whatever_the_cells_hold() -> None:
    assert formats.to_tsv(ROWS).split("\n") == [
        "name\tn\ttags\tmore",
        'a\t1\t{"k": "v"}\t',
        "b\\tc\\nd\t\t\t[1, 2]",
    ]


def test_quiet_prints_names() -> None:
    assert formats.to_names([{"name": "a"}, {"name": "b"}], "name") == "a\nb"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")], {"a": {"b": float("nan")}}])
def test_json_is_valid_even_for_numbers_that_json_lacks(value: object) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    json.loads(formats.to_json(value), parse_constant=refuse)


def test_a_piped_table_cuts_nothing_and_has_no_borders() -> None:
    text = table.plain([{"name": "x" * 300, "status": "Completed"}, {"name": "y", "status": "Failed"}])
    assert "x" * 300 in text
    assert not set("│┃|+─") & set(text)


@pytest.mark.parametrize(
    ("room", "kept"),
    [
        (200, {"name": 20, "status": 9, "created": 30, "data": 60}),
        (80, {"name": 20, "status": 9, "created": 22, "data": 16}),
        (60, {"name": 20, "status": 9, "created": 21}),
        (40, {"name": 20, "status": 9}),
        (5, {"name": 1}),
    ],
)
def test_a_narrow_terminal_loses_the_least_important_columns(room: int, kept: dict[str, int]) -> None:
    widths = {"name": 20, "status": 9, "created": 30, "data": 60}
    assert table.fit_columns(widths, ["name", "status", "created"], room) == kept
    assert sum(kept.values()) + 3 * len(kept) + 1 <= room


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_a_boxed_table_fits_and_squeezes_no_column_to_one_character(width: int) -> None:
    stream = io.StringIO()
    rows = [{"name": "n" * 30, "status": "Completed", "created": "c" * 30, "data": "d" * 90}] * 2
    table.boxed(rows, stream, width=width, priority=["name", "status"], color=False)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    cells = [cell.strip() for cell in lines[3].strip("│").split("│")]
    assert all(len(cell) >= 5 for cell in cells)


@pytest.mark.parametrize("text", ["日本語テキスト" * 5, "e\u0301" * 40, "a\tb\x1b[2J\u202ec" * 9, "👩\u200d🔬 short"])
@pytest.mark.parametrize("unicode", [True, False])
def test_the_columns_of_a_boxed_table_stand_below_each_other_whatever_is_in_them(text: str, unicode: bool) -> None:
    stream = io.StringIO()
    rows = [{"name": text, "n": 1}, {"name": "plain", "n": 22}]
    assert table.boxed(rows, stream, width=40, color=False, unicode=unicode) == []
    lines = stream.getvalue().splitlines()
    assert len({table.places(line) for line in lines}) == 1 and table.places(lines[0]) <= 40
    assert not set(stream.getvalue()) & set("\x1b\u202e\t")
    assert unicode == ("│" in lines[1]) and unicode != ("|" in lines[1])


def test_headings_are_bold_where_colours_are_wanted() -> None:
    stream = io.StringIO()
    table.boxed([{"name": "a"}], stream, width=40)
    assert stream.getvalue() == "╭──────╮\n│ \x1b[1mname\x1b[0m │\n├──────┤\n│ a    │\n╰──────╯\n"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "variables", "forbidden", "wanted"),
    [
        (Terminal(), {}, False, True),
        (Terminal(), {}, True, False),
        (Terminal(), {"NO_COLOR": "1"}, False, False),
        (Terminal(), {"TERM": "dumb"}, False, False),
        (io.StringIO(), {}, False, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, False, True),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    stream: io.StringIO, variables: dict[str, str], forbidden: bool, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert style.wants_color(stream, forbidden) is wanted
