"""What a request that is not on the tape differs in from the nearest one that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from promptflow.tape.place import Place
from promptflow.tape.request import Request

if TYPE_CHECKING:
    from promptflow.tape.player import Recorded

_LOOKED_AT = 100  # requests that are compared
_COMPARED = 1_000  # characters of each
_NAMED = 3  # differences that are named
_SHOWN = 60  # characters of a value


def nearest(request: Request, place: Place, calls: Sequence[Recorded]) -> str:
    """One sentence on the most similar recorded request; empty where none is of the same path."""
    same_path = [call for call in calls if (call.request.method, call.request.path) == request.key[:2]]
    if not same_path:
        paths = sorted({call.request.title for call in calls})
        return f"recorded are {', '.join(paths[:5])}" if paths else "the tape holds no request at all"
    best = max(_candidates(same_path, place)[:_LOOKED_AT], key=lambda call: _likeness(request, call.request))
    named = [f"{path}: recorded {_shown(was)}, now {_shown(now)}" for path, was, now in _changes(best, request)]
    more = f", and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    at = f" ({best.place})" if str(best.place) else ""
    return f"the nearest recorded request{at} differs in {'; '.join(named[:_NAMED])}{more}"


def _candidates(calls: list[Recorded], place: Place) -> list[Recorded]:
    """Those of the same node in the same line, else of the line, else of the node, else all."""
    groups = (
        [call for call in calls if call.place == place],
        [call for call in calls if call.place.line == place.line and place.line is not None],
        [call for call in calls if call.place.node == place.node],
    )
    return next((group for group in groups if group), calls)


def _likeness(request: Request, other: Request) -> float:
    matcher = SequenceMatcher(None, request.text[:_COMPARED], other.text[:_COMPARED], autojunk=False)
    return matcher.ratio()


def _changes(best: Recorded, request: Request) -> list[tuple[str, Any, Any]]:
    return list(_walk("body", best.request.body, request.body))


_ABSENT = object()


def _walk(path: str, was: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(was, dict) and isinstance(now, dict):
        for key in [*was, *(key for key in now if key not in was)]:
            yield from _walk(f"{path}.{key}", was.get(key, _ABSENT), now.get(key, _ABSENT))
    elif isinstance(was, list) and isinstance(now, list):
        for index in range(max(len(was), len(now))):
            yield from _walk(
                f"{path}[{index}]",
                was[index] if index < len(was) else _ABSENT,
                now[index] if index < len(now) else _ABSENT,
            )
    elif was != now:
        yield path, was, now


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
