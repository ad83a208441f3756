"""The mini-batches of a job, decided once: files that come or go before it has ended, or is resumed, change none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from promptflow.workspace.atomic import replacing
from serve.batch import mltable
from serve.batch.inputs import TABLE, Input, files_of
from serve.batch.records import Settings
from serve.batch.tables import Piece, Reader, pieces


@dataclass(frozen=True)
class Plan:
    """``batches`` are JSON: a list of files, or of pieces of a table, which ``reader`` reads. ``sizes`` are how many
    files or rows each has."""

    batches: Sequence[bytes]
    sizes: Sequence[int]
    reader: Reader | None = None

    @property
    def items(self) -> int:
        return sum(self.sizes)


@dataclass
class _Cut:
    """Pieces of several files are put together until there are enough rows, or bytes."""

    rows: int
    size: int
    held: list[Piece] = field(default_factory=list)

    def enough(self, rows: int, size: int) -> bool:
        if self.size:
            return size + sum(one.stop - one.start for one in self.held) >= self.size
        return rows + sum(one.rows for one in self.held) >= self.rows


def load_plan(path: Path, given: Input, settings: Settings) -> Plan:
    """The plan in a file; it is made first, whole or not at all, if it is not there."""
    if not path.is_file():
        with replacing(path, mode=0o600) as file:
            for line in _lines(given, settings):
                file.write(line)
    first, *rest = path.read_bytes().splitlines()
    reader = json.loads(first)["reader"]
    sizes, batches = [], []
    for line in rest:
        size, _, batch = line.partition(b" ")
        sizes.append(int(size))
        batches.append(batch)
    return Plan(batches, sizes, Reader.from_json(reader) if reader else None)


def _lines(given: Input, settings: Settings) -> Iterator[bytes]:
    reader = None
    if given.type == TABLE:
        files, reader = mltable.read_mltable(Path(given.path))
    yield _line({"reader": asdict(reader) if reader else None})
    if reader is None:
        found, size = files_of(given), settings.mini_batch_size
        for at in range(0, len(found), size):
            batch = found[at : at + size]
            yield b"%d %s" % (len(batch), _line(batch))
        return
    for cut in _tables(files, reader, settings):
        yield b"%d %s" % (sum(one.rows for one in cut), _line([one.to_json() for one in cut]))


def _tables(files: list[Path], reader: Reader, settings: Settings) -> Iterator[list[Piece]]:
    cut = _Cut(settings.mini_batch_size, settings.mini_batch_bytes)
    for file in files:
        for piece in pieces(file, reader, cut.enough):
            cut.held.append(piece)
            if cut.enough(0, 0):
                yield cut.held
                cut.held = []
    if cut.held:
        yield cut.held


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"
