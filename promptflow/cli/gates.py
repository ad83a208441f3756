"""`--fail-on`: how many failed rows make a run a failure for the exit code."""

from __future__ import annotations

import argparse
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FailOn:
    """Fails from ``rows`` failed rows on, or from ``percent`` of the rows on; never when both are None."""

    rows: int | None = None
    percent: float | None = None

    def fails(self, failed: int, total: int) -> bool:
        if failed == 0:
            return False
        if self.percent is not None:
            return failed * 100 >= self.percent * total
        return self.rows is not None and failed >= self.rows


ANY = FailOn(rows=1)


def parse_fail_on(text: str) -> FailOn:
    """`any`, `never`, a number of rows, or a percentage of the rows."""
    if text == "any":
        return ANY
    if text == "never":
        return FailOn()
    number = text.removesuffix("%")
    try:
        value = float(number) if text.endswith("%") else int(number)
    except ValueError:
        value = -1
    if value <= 0:
        raise argparse.ArgumentTypeError(f"expected any, never, a number of rows or a percentage, found {text!r}")
    return FailOn(percent=float(value)) if text.endswith("%") else FailOn(rows=int(value))
