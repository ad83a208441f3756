"""What a run's journal says: the lines that have ended, each once, and the nodes of those that have not."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from promptflow.storage.encode import to_json
from promptflow.storage.entries import Entry
from promptflow.storage.journal import read_journal, read_segment, segments
from promptflow.storage.jsonl import from_json
from promptflow.storage.numbers import Numbers

Nodes = dict[str, Entry]


class Journaled:
    """One reading of a journal. ``ended``, ``open_nodes`` and ``aggregation`` are complete when `lines` is used up.

    ``open_nodes``: by line that has not ended, the entries of its nodes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._void = _voided(folder)
        self.run = ""
        self.ended = Numbers()
        self.open_nodes: dict[int, Nodes] = {}
        self.aggregation: Nodes = {}

    def lines(self) -> Iterator[tuple[Entry, Nodes]]:
        """The entries of every line that ended, in that order, each with those of its nodes by name."""
        for segment, text in read_journal(self._folder):
            entry = from_json(text)
            if "line" not in entry:
                self.run = entry.get("run", self.run)
                continue
            line, node = entry["line"], entry.get("node")
            if self._is_void(segment, line, node) or line in self.ended:
                continue
            if line is None:
                self.aggregation[node] = entry
            elif node is not None:
                self.open_nodes.setdefault(line, {}).setdefault(node, entry)
            else:
                self.ended.add(line)
                yield entry, self.open_nodes.pop(line, {})

    def _is_void(self, segment: int, line: int | None, node: str | None) -> bool:
        if not self._void:
            return False
        return segment < max(self._void.get(line, 0), self._void.get((line, node), 0))


def in_order(folder: Path) -> Iterator[tuple[str, Entry, Nodes]]:
    """``(run, line, nodes)`` of all lines that ended, by number. Holds in memory only what ended out of order."""
    numbers = array("q", sorted(line["line"] for line, _ in Journaled(folder).lines()))
    journaled = Journaled(folder)
    waiting: dict[int, tuple[Entry, Nodes]] = {}
    position = 0
    for line, nodes in journaled.lines():
        waiting[line["line"]] = line, nodes
        while position < len(numbers) and numbers[position] in waiting:
            yield journaled.run, *waiting.pop(numbers[position])
            position += 1


def forget(
    lines: Iterable[int] = (), nodes: Mapping[int, Iterable[str]] | None = None, *, aggregation: bool = False
) -> bytes:
    """A record for the head of a segment: what earlier segments hold of these is void."""
    pairs = [(line, name) for line, names in (nodes or {}).items() for name in names]
    return to_json({"forget": {"lines": list(lines), "nodes": pairs, "aggregation": aggregation}})


def _voided(folder: Path) -> dict[Any, int]:
    """By line, ``(line, node)`` or None (the aggregation): the first segment whose entries count."""
    void: dict[Any, int] = {}
    for segment, text in _heads(folder):
        forgotten = from_json(text).get("forget") or {}
        void.update(dict.fromkeys(forgotten.get("lines", ()), segment))
        void.update({(line, node): segment for line, node in forgotten.get("nodes", ())})
        if forgotten.get("aggregation"):
            void[None] = segment
    return void


def _heads(folder: Path) -> Iterator[tuple[int, bytes]]:
    for number, path in segments(folder):
        yield from ((number, text) for text in takewhile(_is_head, read_segment(path)))


def _is_head(text: bytes) -> bool:
    return text.startswith((b'{"run"', b'{"forget"'))
