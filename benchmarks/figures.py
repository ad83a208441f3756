"""One line of the table, and the table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """What was measured, against what, and whether it is within its bound."""

    name: str
    value: str
    reference: str = "-"
    bound: str = "-"
    ok: bool = True


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.2f} ms"


def us(value: float) -> str:
    return f"{value:.0f} µs"


def show(figures: Iterable[Figure]) -> None:
    table = Table(title="promptflow benchmarks", title_justify="left")
    for column in ("figure", "measured", "reference", "bound", ""):
        table.add_column(column)
    for figure in figures:
        table.add_row(figure.name, figure.value, figure.reference, figure.bound, "ok" if figure.ok else "MISSED")
    Console(width=140).print(table)
