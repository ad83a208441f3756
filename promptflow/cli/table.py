"""Tables: on a terminal, boxed and fitted to its width; in a pipe, plain, whole and without borders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from promptflow.cli.formats import cell, column_names, one_line

_LEAST = 16  # a column that is cut to less than this says nothing: it is dropped instead
_BORDER = 3


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
    from rich import box  # 60 ms, for a terminal only
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names = list(columns) or column_names(rows)
    texts = [[one_line(cell(row.get(name))) for name in names] for row in rows]
    widths = {n: max([len(n)] + [len(line[i]) for line in texts]) for i, n in enumerate(names)}
    kept = fit_columns(widths, priority, width)
    table = Table(box=box.ROUNDED if unicode else box.ASCII, header_style="bold" if color else "")
    for name, room in kept.items():
        table.add_column(name, no_wrap=True, overflow="ellipsis" if unicode else "crop", width=room)
    for line in texts:
        table.add_row(*(Text(text) for name, text in zip(names, line, strict=True) if name in kept))
    console = Console(file=stream, width=width, no_color=not color, force_terminal=color, highlight=False)
    console.print(table)
    return [n for n in names if n not in kept]


def record(fields: Mapping[str, Any]) -> str:
    """One thing, a line per field."""
    wide = max((len(name) for name in fields), default=0)
    return "\n".join(f"{name.ljust(wide)}  {one_line(cell(value))}".rstrip() for name, value in fields.items())
