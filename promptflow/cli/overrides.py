"""`--set a.b[0].c=value`: dotted paths into a specification, with JSON-typed values."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from promptflow.cli.errors import UsageError

_QUOTED = r"\"([^\"]+)\"|'([^']+)'"
_STEP = re.compile(rf"(?:\.?(?:{_QUOTED}|([^.\[\]\"']+))|\[(?:(\d+)|{_QUOTED})\])(?=[.\[]|$)")


def parse_path(text: str) -> tuple[str | int, ...]:
    """`nodes[0].inputs.x` -> ("nodes", 0, "inputs", "x"). A name with dots stands in quotes: `tags."a.b"`."""
    steps: list[str | int] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None or (at == 0 and match[0].startswith(".")):
            raise UsageError(f"--set {text}: this is no path", hint="write it as name.name[0].name=value")
        name = next((match[group] for group in (1, 2, 3, 5, 6) if match[group] is not None), None)
        steps.append(int(match[4]) if name is None else name)
        at = match.end()
    if not steps or isinstance(steps[0], int):
        raise UsageError(f"--set {text}: a path begins with a name", hint="write it as name.name[0].name=value")
    return tuple(steps)


def parse_value(text: str) -> Any:
    """JSON where it is JSON (`3`, `true`, `[1]`, `"3"`), the text itself otherwise."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def apply(
    spec: Mapping[str, Any],
    overrides: Mapping[str, str] | None,
    *,
    known: Collection[str] = (),
    typed: bool = True,
    flat: Collection[str] = (),
) -> dict[str, Any]:
    """A copy of ``spec`` with every override set. ``known``: the only top-level names there are (empty: any name).
    ``flat`` are those with nothing below their keys: a dot in the rest of the path belongs to the key."""
    result: dict[str, Any] = copy.deepcopy(dict(spec))
    for text, value in (overrides or {}).items():
        steps = joined(parse_path(text), flat)
        if known and steps[0] not in known:
            raise UsageError(f"--set {text}: there is no {steps[0]!r} here", hint=nearest_hint(str(steps[0]), known))
        _set(result, steps, parse_value(value) if typed else value, text)
    return result


def joined(steps: tuple[str | int, ...], flat: Collection[str]) -> tuple[str | int, ...]:
    """The path with all that follows one of ``flat`` as one key."""
    if steps[0] not in flat or len(steps) < 3 or not all(isinstance(step, str) for step in steps):
        return steps
    return steps[0], ".".join(map(str, steps[1:]))


def nearest_hint(word: str, words: Collection[str]) -> str:
    """`did you mean X?`, or the list of what there is."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else "one of: " + ", ".join(sorted(words))


def _set(target: Any, steps: tuple[str | int, ...], value: Any, text: str) -> None:
    for step, following in zip(steps, steps[1:], strict=False):
        if isinstance(step, int):
            target = _item(target, step, text)
            continue
        _need_mapping(target, step, text)
        if target.get(step) is None:
            if isinstance(following, int):
                raise UsageError(f"--set {text}: there is no list {step!r} here", hint=_names(target))
            target[step] = {}
        target = target[step]
    last = steps[-1]
    if isinstance(last, int):
        _item(target, last, text)
    else:
        _need_mapping(target, last, text)
    target[last] = value


def _item(target: Any, index: int, text: str) -> Any:
    if not isinstance(target, list):
        raise UsageError(f"--set {text}: [{index}] asks for a list, here is {type(target).__name__}")
    if index >= len(target):
        raise UsageError(
            f"--set {text}: there is no item {index}", hint=f"the list has {len(target)} items, 0 is the first"
        )
    return target[index]


def _need_mapping(target: Any, step: str, text: str) -> None:
    if not isinstance(target, dict):
        raise UsageError(f"--set {text}: {step!r} asks for a mapping, here is {type(target).__name__}")


def _names(target: Mapping[str, Any]) -> str:
    return "there are: " + ", ".join(map(str, target)) if target else ""
