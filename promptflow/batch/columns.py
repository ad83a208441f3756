"""Column mapping: which column of which source feeds which input. Pure functions.

A value ``${data.question}`` reads column ``question`` of source ``data``; any other value is a literal. The sources are
``data``, ``run.inputs`` (the data file of the run that is evaluated) and ``run.outputs``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from promptflow.exceptions import ApplyInputMappingError, InputMappingError, ValidationException

LINE_NUMBER = "line_number"

Row = Mapping[str, Any]

_REFERENCE = re.compile(r"\$\{([^{}]+)\}")


@dataclass(frozen=True)
class Columns:
    """What one reading of a source tells: rows, columns of any row; whether the ``line_number`` of its rows rises, how
    many have one, the last one."""

    count: int
    names: tuple[str, ...]
    rising: bool = True
    numbers: int = 0
    last: int = -1

    @property
    def numbered(self) -> bool:
        return LINE_NUMBER in self.names


@dataclass(frozen=True)
class Plan:
    """A checked mapping: literals, and for every other input its source and column. ``texts`` are inputs that have no
    value where their row lacks the column; others are NaN there, as in a table read from a file."""

    literals: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, tuple[str, str]] = field(default_factory=dict)
    texts: Collection[str] = ()

    def apply(self, line: Mapping[str, Row]) -> dict[str, Any]:
        """The inputs of one line."""
        values = {name: line[source].get(column, _NAN) for name, (source, column) in self.columns.items()}
        for name in self.texts:
            if name in values and values[name] is _NAN:
                del values[name]
        return {**values, **self.literals} if self.literals else values

    def gaps(self, line: Mapping[str, Row]) -> list[str]:
        """The columns that this line lacks."""
        return [f"{source}.{column}" for source, column in self.columns.values() if column not in line[source]]


_NAN = float("nan")


def look(rows: Iterable[Row]) -> Columns:
    """Read a source once, for its size and columns."""
    count = 0
    names: dict[str, None] = {}
    numbers, last, rising = 0, -1, True
    for row in rows:
        count += 1
        if not names.keys() >= row.keys():
            names.update(dict.fromkeys(row))
        if LINE_NUMBER in row:
            number = _line_number(row[LINE_NUMBER])
            rising = rising and number > last
            numbers, last = numbers + 1, number
    return Columns(count, tuple(names), rising, numbers, last)


def check_mapping(mapping: Any) -> None:
    """A mapping is a dictionary with at least one reference: literals alone would repeat one line for every row."""
    if not mapping:
        return
    if not isinstance(mapping, Mapping):
        raise ValidationException(f"Column mapping must be a dict, got {type(mapping)}.")
    if not any(isinstance(value, str) and value.startswith("$") for value in mapping.values()):
        raise ValidationException(
            "Column mapping must contain at least one mapping binding, "
            f"current column mapping contains all static values: {dict(mapping)}"
        )


def complete_mapping(
    mapping: Mapping[str, Any] | None, inputs: Iterable[str], defaults: Collection[str]
) -> dict[str, Any]:
    """The mapping of every input: ``${data.<name>}`` where none is given.

    An input with a default is left out: it keeps its default even where the data has a column of its name.
    """
    automatic = {name: f"${{data.{name}}}" for name in inputs if name not in defaults}
    return {**automatic, **(mapping or {})}


def plan_mapping(mapping: Mapping[str, Any], sources: Mapping[str, Columns], texts: Collection[str] = ()) -> Plan:
    """Resolve every reference against the columns there are. Those that find nothing are named in one error.

    ``${a.b.c}`` tries source ``a`` with column ``b.c``, then source ``a.b`` with column ``c``; columns are never
    searched for nested values.
    """
    plan = Plan(texts=tuple(texts))
    missing: list[str] = []
    for name, value in mapping.items():
        if name == LINE_NUMBER:
            continue
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            plan.literals[name] = value
            continue
        found = next((s for s in _splits(match[1]) if s[0] in sources and s[1] in sources[s[0]].names), None)
        if found is None:
            missing.append(value)
        else:
            plan.columns[name] = found
    if missing:
        raise ApplyInputMappingError(
            f"The input for batch run is incorrect. Couldn't find these mapping relations: {', '.join(missing)}. "
            "Please make sure your input mapping keys and values match your YAML input section and input data.",
            hint=_known_columns(sources),
        )
    return plan


def check_lengths(sources: Mapping[str, Columns]) -> None:
    """Sources whose rows belong together by position must be equally long, and none may be empty."""
    for name, columns in sources.items():
        if not columns.count:
            raise InputMappingError(
                f"The input for batch run is incorrect. Input from key '{name}' is an empty list, "
                "which means we cannot generate a single line input for the flow run."
            )
    lengths = {name: columns.count for name, columns in sources.items() if not columns.numbered}
    if len(set(lengths.values())) > 1:
        raise InputMappingError(
            "The input for batch run is incorrect. Line numbers are not aligned: some lists have no 'line_number' "
            f"key, and their lengths differ. List lengths are: {lengths}. "
            "Please make these lists equally long or add a 'line_number' key to each row."
        )


def count_joined(sources: Collection[Columns]) -> int | None:
    """How many lines all sources have; None where only reading them again tells."""
    counts = [source.count for source in sources if not source.numbered]
    sparse: list[Columns] = []
    for source in sources:
        if source.numbered:
            has_all = source.rising and source.numbers == source.count == source.last + 1
            counts.append(source.count) if has_all else sparse.append(source)
    least = min(counts, default=None)
    if not sparse:
        return least
    (only, *others) = sparse
    if others or not only.rising or (least is not None and only.last >= least):
        return None
    return only.numbers


def join(
    sources: Mapping[str, Iterable[Row]], numbered: Collection[str], rising: bool = False
) -> Iterator[tuple[int, dict[str, Row]]]:
    """``(line number, {source: row})`` for every line that all sources have.

    Rows of a ``numbered`` source belong to the line they name (rows that name none are left out, the last of several
    wins), those of another to the line of their position. ``rising``: the line numbers of every source rise, so that
    rows can be streamed; without it, all are held in memory.
    """
    streams = {name: _number_rows(rows) if name in numbered else enumerate(rows) for name, rows in sources.items()}
    if rising or not numbered:
        if len(streams) == 1:
            ((name, only),) = streams.items()
            yield from ((number, {name: row}) for number, row in only)
        else:
            yield from _merged(streams)
        return
    lines: dict[int, dict[str, Row]] = {}
    for name, stream in streams.items():
        for number, row in stream:
            lines.setdefault(number, {})[name] = row
    for number, line in sorted(lines.items()):
        if len(line) == len(sources):
            yield number, line


def _merged(streams: Mapping[str, Iterator[tuple[int, Row]]]) -> Iterator[tuple[int, dict[str, Row]]]:
    """The lines that all streams have; each stream is sorted."""
    heads: dict[str, tuple[int, Row]] = {}
    while True:
        highest = max((number for number, _ in heads.values()), default=-1)
        if len(heads) == len(streams) and all(number == highest for number, _ in heads.values()):
            yield highest, {name: row for name, (_, row) in heads.items()}
            heads.clear()
        for name, stream in streams.items():
            if name not in heads or heads[name][0] < highest:
                head = next(stream, None)
                if head is None:
                    return
                heads[name] = head


def _number_rows(rows: Iterable[Row]) -> Iterator[tuple[int, Row]]:
    for row in rows:
        if LINE_NUMBER in row:
            yield _line_number(row[LINE_NUMBER]), row


def _line_number(value: Any) -> int:
    # csv cells are text; a float comes out of tables in which some rows had no number
    try:
        return int(value)
    except (TypeError, ValueError):
        raise InputMappingError(
            f"The input for batch run is incorrect. The line_number {value!r} is not a whole number."
        ) from None


def _splits(path: str) -> Iterator[tuple[str, str]]:
    parts = path.split(".")
    for i in range(1, len(parts)):
        yield ".".join(parts[:i]), ".".join(parts[i:])


def _known_columns(sources: Mapping[str, Columns]) -> str:
    known = [f"${{{name}.{column}}}" for name, columns in sources.items() for column in columns.names]
    return f"there are: {', '.join(known[:20])}" if known else "the data has no columns"
