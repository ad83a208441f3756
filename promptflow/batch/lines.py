"""The lines of a batch: rows of the data, joined and mapped to flow inputs, streamed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from promptflow.batch.columns import (
    LINE_NUMBER,
    Columns,
    Plan,
    check_lengths,
    complete_mapping,
    count_joined,
    join,
    plan_mapping,
)
from promptflow.batch.data import look_at, read_rows
from promptflow.exceptions import EmptyInputsData, InputMappingError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lines:
    """``(line number, inputs)`` for every line; may be read again and again, reads the files each time."""

    paths: Mapping[str, Path]
    columns: Mapping[str, Columns]
    plan: Plan

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        gaps = 0
        for number, line in self._joined():
            values = self.plan.apply(line)
            values[LINE_NUMBER] = number
            if missing := self.plan.gaps(line):
                gaps += 1
                if gaps <= 5:
                    _logger.warning("line %d has no column %s", number, ", ".join(missing))
            yield number, values
        if gaps > 5:
            _logger.warning("%d lines lack columns that others have", gaps)

    @cached_property
    def total(self) -> int:
        counted = count_joined(self.columns.values())
        return sum(1 for _ in self._joined()) if counted is None else counted

    @property
    def _numbered(self) -> list[str]:
        return [name for name, columns in self.columns.items() if columns.numbered]

    def _joined(self) -> Iterator[tuple[int, dict[str, Any]]]:
        rising = all(columns.rising for columns in self.columns.values())
        return join({name: read_rows(path) for name, path in self.paths.items()}, self._numbered, rising)


def read_lines(
    paths: Mapping[str, Path],
    mapping: Mapping[str, Any] | None,
    inputs: Collection[str],
    defaults: Collection[str] = (),
    texts: Collection[str] = (),
) -> Lines:
    """Look at the data once and check the mapping. ``inputs``, ``defaults`` (those that have one) and ``texts`` (those
    for which NaN is no value) are names of flow inputs."""
    columns = {name: look_at(path) for name, path in paths.items()}
    if not any(source.count for source in columns.values()):
        where = "\n".join(f"{name}: {path.as_posix()}" for name, path in paths.items())
        raise EmptyInputsData(
            "Couldn't find any inputs data at the given input paths. Please review the provided path and consider "
            f"resubmitting.\n{where}"
        )
    check_lengths(columns)
    plan = plan_mapping(complete_mapping(mapping, inputs, defaults), columns, texts)
    shadowed = [
        name for name in defaults if name not in (mapping or {}) and "data" in columns and name in columns["data"].names
    ]
    if shadowed:
        _logger.warning(
            "columns of the data are not used, because inputs of that name have defaults: %s; to use them: %s",
            ", ".join(shadowed),
            ", ".join(f"{name}=${{data.{name}}}" for name in shadowed),
        )
    lines = Lines(dict(paths), columns, plan)
    if not lines.total:
        raise InputMappingError(
            "The input for batch run is incorrect. Could not find one complete line on the provided input. "
            "Please ensure that you supply data on the same line to resolve this issue."
        )
    return lines
