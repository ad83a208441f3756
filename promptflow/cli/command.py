"""What a verb of `pf` is: its arguments, its words of help, and the function that does it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

from promptflow.cli.output import Output


@dataclass(frozen=True, slots=True)
class Command:
    """One verb. ``run`` returns an exit code, or None for 0.

    ``format`` is the default of ``-o`` (``json`` for the verbs whose JSON is read by scripts since promptflow 1.x,
    ``table`` for the others); None when the verb has no ``-o FORMAT``.
    """

    run: Callable[[Namespace, Output], int | None]
    description: str
    arguments: Callable[[ArgumentParser], None] | None = None
    examples: tuple[str, ...] = ()
    format: str | None = None
