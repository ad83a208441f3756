"""Sorting a file of lines that is nearly in order, in little memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from heapq import heappop, heappush, merge
from itertools import groupby
from math import inf
from pathlib import Path

from promptflow.workspace.atomic import file_error

AT_ONCE = 1 << 20  # bytes in memory
_MOST_RUNS = 256  # files open at once

NumberOf = Callable[[bytes], int]


def sort_file(path: Path, number_of: NumberOf) -> None:
    """Sort the lines of a file by their numbers, all or nothing. Raises WorkspaceError.

    One pass does where no line is further from its place than what is held in memory. What is, makes runs of its own,
    each sorted, in files that are merged in the end.
    """
    runs: list[Path] = []
    fresh = path.with_name(f".{path.name}.sorted")
    try:
        room = max(AT_ONCE, path.stat().st_size // _MOST_RUNS)
        with path.open("rb") as source:
            for number, lines in groupby(in_runs(source, number_of, room), key=lambda pair: pair[0]):
                runs.append(path.with_name(f".{path.name}.{number}"))
                with runs[-1].open("wb") as target:
                    target.writelines(line for _, line in lines)
        if len(runs) > 1:
            _merge(runs, fresh, number_of)
        os.replace(fresh if len(runs) > 1 else runs[0], path)
    except OSError as error:
        raise file_error("sort", path, error) from error
    finally:
        for part in (*runs, fresh):
            part.unlink(missing_ok=True)


def in_runs(lines: Iterable[bytes], number_of: NumberOf, room: int) -> Iterator[tuple[int, bytes]]:
    """``(run, line)``: the lines in runs 0, 1, 2… each of which is sorted; never more than about ``room`` bytes wait.

    The least line that waits goes out, and one that is less than what is out already waits for the next run. So each
    run but the last has at least ``room`` bytes, and lines that are nearly in order make a single one.
    """
    waiting: list[tuple[int, int, bytes]] = []
    held = run = 0
    least = -inf  # of what may still go out in this run
    for line in lines:
        number = number_of(line)
        heappush(waiting, (run + (number < least), number, line))
        held += len(line)
        while held > room:
            run, least, line = heappop(waiting)
            held -= len(line)
            yield run, line
    while waiting:
        run, _, line = heappop(waiting)
        yield run, line


def _merge(runs: Iterable[Path], target: Path, number_of: NumberOf) -> None:
    with ExitStack() as stack:
        lines: Iterator[bytes] = merge(*(stack.enter_context(run.open("rb")) for run in runs), key=number_of)
        stack.enter_context(target.open("wb")).writelines(lines)
