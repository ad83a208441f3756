"""Why a vLLM failed, as far as its log tells."""

from __future__ import annotations

import re

TAIL = 15  # lines of the log in an error
MOST = 3
LONGEST = 500  # characters of a reason

_WHO = r"^(?:\(\S+ pid=\d+\) )?"
_LOGGED = r"(?:\w+ [\d-]+ [\d:]+ \[\S+\] )"  # "ERROR 11-21 16:38:56 [core.py:133] "
_ERROR = r"((?!\S*EngineDeadError)[\w.]*(?:Error|Exception): .+)$"
# What a log says last is how the processes above the one that failed went down; the reason stands before it.
_ANY = re.compile(f"{_WHO}{_LOGGED}?{_ERROR}", re.MULTILINE)
# Errors that nobody caught. Those of requests that were refused are logged, with time and place.
_UNCAUGHT = re.compile(_WHO + _ERROR, re.MULTILINE)
_END = re.compile(r"encountered a fatal error|(?:exited|died) unexpectedly")
# What libraries say of their own tidying up, as it ends.
_NOISE = re.compile(r"nanobind: |See https://nanobind| - (?:leaked |\.\.\. skipped )")


def reasons(log: str, served: bool) -> list[str]:
    """``served``: it had answered. Then what it says of requests, long before its end, is no reason."""
    mark = _END.search(log) if served else None
    found = (_UNCAUGHT if served and mark is None else _ANY).findall(log, mark.start() if mark else 0)
    return [reason[:LONGEST] for reason in dict.fromkeys(text.strip() for text in found)][:MOST]


def ending(log: str) -> str:
    """The last lines."""
    return "\n".join([line for line in log.splitlines() if not _NOISE.match(line)][-TAIL:])
