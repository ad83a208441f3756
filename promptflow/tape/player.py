"""Replaying: every request is answered from the tape, or not at all."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptflow.exceptions import ReplayMiss
from promptflow.tape.difference import nearest
from promptflow.tape.file import append_line, read_records
from promptflow.tape.handover import Handover
from promptflow.tape.place import Place, here
from promptflow.tape.request import Request
from promptflow.tape.scrub import MASK

KEPT = 100  # misses that are kept in memory, and explained by the nearest request
MISSES = "replay_misses.jsonl"
_Key = tuple[str, str, str]


@dataclass(eq=False)
class Recorded:
    """A call on the tape."""

    place: Place
    request: Request
    answer: dict[str, Any]
    by: str
    order: tuple[int, int]


@dataclass
class _Asked:
    """Recorded calls of one line that ask the same, and how many of them a replay has used."""

    calls: list[Recorded] = field(default_factory=list)
    used: set[int] = field(default_factory=set)


class Player:
    """Answers from one tape. The n-th same request of a line gets the n-th answer that the line got.

    What is asked for in vain is in the file ``note``, which several processes may share, and the first of it in
    ``misses``.
    ``allow``: the url of the one server that may be connected to.
    """

    def __init__(self, path: Path, note: Path | None = None, allow: str | None = None) -> None:
        self.path = path
        self.note = note
        self.allow = allow
        self.misses: list[ReplayMiss] = []
        self._lock = threading.Lock()
        self._connections: dict[str, dict[str, Any]] = {}
        self._calls = list(self._read())
        self._lines: dict[_Key, dict[int | None, list[Recorded]]] = {}
        for call in self._calls:
            self._lines.setdefault(call.request.key, {}).setdefault(call.place.line, []).append(call)
        self._masked = [key for key in self._lines if MASK in key[2]]
        self._asked: dict[tuple[int | None, _Key], _Asked] = {}

    def answer(self, request: Request) -> dict[str, Any]:
        """What the tape holds for this request, here. Raises ReplayMiss."""
        place = here()
        with self._lock:
            found = self._find(request, place)
        return found.answer if found is not None else self._miss(request, place)

    def connection(self, name: Any, find: Callable[[], Any], make: Callable[[dict[str, Any], str], Any]) -> Any:
        """A stand-in for a connection of the recording: it needs neither the connection nor its secrets."""
        about = self._connections.get(name) if isinstance(name, str) else None
        if about is None:
            return find()
        values = {**about["configs"], **dict.fromkeys(about["secret_keys"], MASK)}
        connection = make({**about, "value": values}, name)
        if hasattr(connection, "_token_provider"):
            connection._token_provider = _token  # signing in is a call too
        return connection

    def begin_in(self, folder: Path) -> None:
        self.note = folder / MISSES
        self.note.unlink(missing_ok=True)  # of a process before, which this one goes on for

    def handover(self) -> Handover:
        return Handover(str(self.path), True, note=str(self.note) if self.note is not None else None, allow=self.allow)

    def missed(self, message: str, place: Place, hint: str, kind: type[ReplayMiss] = ReplayMiss) -> ReplayMiss:
        """The error for what a replay must not do. It is noted as well: the flow may catch it."""
        miss = kind(message, location=str(place), hint=hint)
        if len(self.misses) < KEPT:
            self.misses.append(miss)
        if self.note is not None:
            append_line(self.note, {"message": message, "location": str(place), "hint": hint})
        return miss

    def _read(self) -> Iterator[Recorded]:
        found: list[Recorded] = []
        for at, record in enumerate(read_records(self.path)):
            if "connection" in record:
                self._connections[record["connection"]] = record
            elif "answer" in record:
                found.append(_recorded(record, at))
        return _final(found)

    def _find(self, request: Request, place: Place) -> Recorded | None:
        key = self._same(request)
        lines = self._lines.get(key) if key is not None else None
        if lines is None or key is None:
            return None
        if place.line in lines:
            return _take(self._asked.setdefault((place.line, key), _Asked(lines[place.line])), place)
        # Another line asked it, or a test asks what a run had recorded: it gets the same answers, the last one again.
        asked = self._asked.setdefault((place.line, key), _Asked(next(iter(lines.values()))))
        return _take(asked, place) or asked.calls[-1]

    def _same(self, request: Request) -> _Key | None:
        """The key on the tape that this request answers to. A masked secret there stands for any text."""
        if request.key in self._lines:
            return request.key
        for method, path, text in self._masked:
            if (method, path) == request.key[:2] and _pattern(text).fullmatch(request.text):
                return method, path, text
        return None

    def _miss(self, request: Request, place: Place) -> Any:
        at = f" of {place}" if str(place) else ""
        count = len(self._lines.get(self._same(request) or ("", "", ""), {}).get(place.line, ()))
        if count:
            times = "once" if count == 1 else f"{count} times"
            raise self.missed(
                f"The request {request.title}{at} was recorded {times}, and is made once more.",
                place,
                "the flow asks more often than it did: record it anew",
            )
        raise self.missed(
            f"The tape {self.path.name} has no answer for {request.title}{at}.",
            place,
            nearest(request, place, self._calls) if len(self.misses) < KEPT else "see the first ones",
        )


def used_records(path: Path) -> list[dict[str, Any]]:
    """The records of a tape that a replay uses."""
    records = list(read_records(path))
    final = {call.order for call in _final([_recorded(r, at) for at, r in enumerate(records) if "answer" in r])}
    return [r for at, r in enumerate(records) if "answer" not in r or (r["n"], at) in final]


def _recorded(record: dict[str, Any], at: int) -> Recorded:
    place = Place(record.get("line"), record.get("node") or "")
    request = Request(record["method"], record["url"], record.get("body"))
    return Recorded(place, request, record["answer"], record.get("by", ""), (record["n"], at))


def _token() -> str:
    return MASK


def _take(asked: _Asked, place: Place) -> Recorded | None:
    """The first call that was not used yet; of those, one of the same node if there is one."""
    left = [index for index in range(len(asked.calls)) if index not in asked.used]
    if not left:
        return None
    index = next((i for i in left if asked.calls[i].place.node == place.node), left[0])
    asked.used.add(index)
    return asked.calls[index]


def _final(calls: list[Recorded]) -> Iterator[Recorded]:
    """The calls that count: of a line that was resumed or retried, those of the last attempt at each node; of a
    request that was refused and made again, the last answer."""
    by_place: dict[Place, list[Recorded]] = defaultdict(list)
    for call in calls:
        by_place[call.place].append(call)
    for place, found in by_place.items():
        kept = found
        if place != Place():  # else threads of several processes made them
            kept = sorted((call for call in found if call.by == found[-1].by), key=lambda call: call.order)
        following: dict[_Key, bool] = {}
        final = []
        for call in reversed(kept):
            if not (_refused(call.answer) and following.get(call.request.key)):
                final.append(call)
            following[call.request.key] = True
        yield from reversed(final)


def _refused(answer: dict[str, Any]) -> bool:
    status = answer.get("status") or (answer.get("failure") or {}).get("status") or 0
    return "failure" in answer and not status or status in (408, 409, 429) or status >= 500


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*?".join(map(re.escape, text.split(MASK))), re.DOTALL)
