"""Tables: on a terminal, boxed and fitted to its width; in a pipe, plain, whole and without borders."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TextIO

from promptflow.cli.formats import cell, column_names, one_line
from promptflow.cli.style import paint

_LEAST = 16  # a column that is cut to less than this says nothing: it is dropped instead
_BORDER = 3
_JOINERS = "\u200c\u200d"  # inside words of some scripts, and inside emoji


class _Frame(NamedTuple):
    """The lines of a table: of the rules the left end, where they cross a line between columns, and the right end."""

    side: str
    flat: str
    top: str
    middle: str
    bottom: str


_ROUNDED = _Frame("│", "─", "╭┬╮", "├┼┤", "╰┴╯")
_ASCII = _Frame("|", "-", "+++", "+++", "+++")


def fit_columns(widths: Mapping[str, int], priority: Sequence[str], room: int) -> dict[str, int]:
    """The columns that fit in ``room`` characters at a readable width, in their order, and that width.

    ``priority``: most important first; columns it does not name come after, in order. The first always stays, and is
    cut last.
    """
    ranked = [n for n in priority if n in widths] + [n for n in widths if n not in priority]
    fitted: dict[str, int] = {}
    left = room - 1
    for name in ranked:
        least = min(widths[name], max(_LEAST, len(name)) if fitted else room // 2)
        if fitted and left < least + _BORDER:
            break
        fitted[name] = max(1, min(least, left - _BORDER))
        left -= fitted[name] + _BORDER
    for name in fitted:
        more = min(widths[name] - fitted[name], max(0, left))
        fitted[name] += more
        left -= more
    return {name: fitted[name] for name in widths if name in fitted}


def plain(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Columns padded to align, nothing cut, no borders."""
    names = list(columns) or column_names(rows)
    lines = [[name.upper() for name in names]] + [[one_line(cell(row.get(n))) for n in names] for row in rows]
    # A very long cell may stick out rather than pad every other row to its length.
    widths = [min(60, max(len(line[i]) for line in lines)) for i in range(len(names))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def boxed(
    rows: Sequence[Mapping[str, Any]],
    stream: TextIO,
    *,
    width: int,
    columns: Sequence[str] = (),
    priority: Sequence[str] = (),
    color: bool = True,
    unicode: bool = True,
) -> list[str]:
    """Print a table no wider than ``width``; returns the names of the columns that were dropped."""
    names = list(columns) or column_names(rows)
    texts = [[_visible(one_line(cell(row.get(name)))) for name in names] for row in rows]
    widths = {n: max([places(n)] + [places(line[i]) for line in texts]) for i, n in enumerate(names)}
    kept = fit_columns(widths, priority, width)
    shown = [at for at, name in enumerate(names) if name in kept]
    frame = _ROUNDED if unicode else _ASCII

    def line(cells: Sequence[str], style: str = "") -> str:
        filled = [_fill(cells[at], kept[names[at]], unicode) for at in shown]
        sides = [f" {paint(text, style, color) if style else text} " for text in filled]
        return frame.side + frame.side.join(sides) + frame.side

    def rule(left: str, between: str, right: str) -> str:
        return left + between.join(frame.flat * (kept[names[at]] + 2) for at in shown) + right

    lines = [rule(*frame.top), line(names, "bold"), rule(*frame.middle), *map(line, texts), rule(*frame.bottom)]
    print("\n".join(lines), file=stream)
    return [n for n in names if n not in kept]


def places(text: str) -> int:
    """How many places of a terminal a text takes: letters of East Asia take two, marks over a letter none."""
    return len(text) if text.isascii() else sum(map(_place, text))


def _place(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _fill(text: str, room: int, unicode: bool) -> str:
    """The text with spaces up to its room; one that is longer is cut, and says so where there is a sign for it."""
    if places(text) <= room:
        return text + " " * (room - places(text))
    kept, left = "", room - unicode
    for letter in text:
        if _place(letter) > left:
            break
        kept, left = kept + letter, left - _place(letter)
    return kept + ("…" if unicode else "") + " " * left


def _visible(text: str) -> str:
    """What would move the cursor or paint is written as its number."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in _JOINERS or unicodedata.category(c) == "Zs" else _number(c) for c in text
    )


def _number(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def record(fields: Mapping[str, Any]) -> str:
    """One thing, a line per field."""
    wide = max((len(name) for name in fields), default=0)
    return "\n".join(f"{name.ljust(wide)}  {one_line(cell(value))}".rstrip() for name, value in fields.items())
