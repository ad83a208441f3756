"""How a batch runs: how many lines at once and where, how long they may take, what is cached, recorded, sent away."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.sizes import parse_size
from promptflow.workspace.urls import absolute

CACHE_MODES = ("auto", "read", "refresh", "off")
_VARIABLES = {
    "concurrency": "PF_WORKER_COUNT",
    "line_timeout": "PF_LINE_TIMEOUT_SEC",
    "batch_timeout": "PF_BATCH_TIMEOUT_SEC",
    "cache": "PF_CACHE",
}


@dataclass(frozen=True)
class RunOptions:
    """The options of one batch.

    ``concurrency``: lines at once, None to adapt; ``workers``: processes that run the lines, 0 for this one;
    ``memory_limit``: bytes that each worker may use; ``line_timeout`` and ``batch_timeout``: seconds, None for no
    limit; ``record_http``: URL patterns of calls that are recorded besides those to models;
    ``compute``: where else the lines run (``ray``, ``ray://host:port``); ``export``: a path or url for
    the rows, which are written there at the end.
    """

    concurrency: int | None = None
    workers: int = 0
    memory_limit: int | None = None
    line_timeout: float = 600.0
    batch_timeout: float | None = None
    cache: str = "auto"
    record: bool = False
    record_http: tuple[str, ...] = ()
    compute: str | None = None
    export: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any] | None = None) -> RunOptions:
        """``given`` over the environment over the defaults. Raises ValidationException that names what is wrong."""
        values: dict[str, Any] = {}
        for name, variable in _VARIABLES.items():
            if text := os.environ.get(variable, "").strip():
                values[name] = _CHECKS[name](text, f"environment: {variable}", variable)
        for name, value in (given or {}).items():
            if name not in _CHECKS:
                from difflib import get_close_matches  # only for this error

                near = get_close_matches(name, _CHECKS, 1)
                hint = f"did you mean {near[0]}?" if near else ""
                raise ValidationException(f"A run has no option {name!r}.", hint=hint)
            if value is not None:
                values[name] = _CHECKS[name](value, f"option {name}", name)
        return cls(**values)


OPTION_NAMES = tuple(field.name for field in fields(RunOptions))


def _seconds(value: Any, where: str, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValidationException(f"{name} is {value!r}, which is no positive number.", location=where)
    return number


def _count(value: Any, where: str, name: str) -> int:
    number = _seconds(value, where, name)
    if number < 1 or number != int(number):
        raise ValidationException(f"{name} is {value!r}, which is no whole number of 1 or more.", location=where)
    return int(number)


def _count_or_none(value: Any, where: str, name: str) -> int:
    return 0 if value in (0, "0") else _count(value, where, name)


def _bytes(value: Any, where: str, name: str) -> int:
    size = parse_size(value)
    if not size:
        raise ValidationException(f"{name} is {value!r}, which is no size.", location=where, hint="write 512MB or 2GB")
    return size


def _mode(value: Any, where: str, name: str) -> str:
    if value not in CACHE_MODES:
        raise ValidationException(f"{name} is {value!r}.", location=where, hint=f"one of {', '.join(CACHE_MODES)}")
    return str(value)


def _flag(value: Any, where: str, name: str) -> bool:
    if not isinstance(value, bool):
        raise ValidationException(f"{name} is {value!r}, which is neither true nor false.", location=where)
    return value


def _patterns(value: Any, where: str, name: str) -> tuple[str, ...]:
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) and word for word in words):
        raise ValidationException(f"{name} is {value!r}, which is no list of URL patterns.", location=where)
    return tuple(words)


def _compute(value: Any, where: str, name: str) -> str:
    text = str(value)
    if text != "ray" and (not text.startswith("ray://") or text == "ray://"):
        raise ValidationException(
            f"{name} is {text!r}, which is no place for lines to run.",
            location=where,
            hint="ray, ray://auto for the cluster that this machine belongs to, or ray://HOST:PORT",
        )
    return text


def _export(value: Any, where: str, name: str) -> str:
    return absolute(str(value))  # now: the flow's folder is the working directory later


_CHECKS = {
    "concurrency": _count,
    "workers": _count_or_none,
    "memory_limit": _bytes,
    "line_timeout": _seconds,
    "batch_timeout": _seconds,
    "cache": _mode,
    "record": _flag,
    "record_http": _patterns,
    "compute": _compute,
    "export": _export,
}
