"""The nouns of the check: a finding in a file, and the verdict on a thing made of files."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Verdict(IntEnum):
    """Worse is larger."""

    UNCHANGED = 0
    WARNING = 1
    EDIT = 2

    @property
    def text(self) -> str:
        return ("runs unchanged", "runs with a warning", "needs an edit")[self]

    @property
    def plural(self) -> str:
        return ("run unchanged", "run with a warning", "need an edit")[self]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing to know about one line. ``package`` names a package to install, where that is the fix."""

    file: str
    line: int
    verdict: Verdict
    message: str
    fix: str = ""
    package: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One flow, prompty, run, connection or Python file, with all that was found in it and in its tool files.

    ``connections``: names that must exist in the workspace before it runs.
    """

    file: str
    kind: str
    findings: tuple[Finding, ...] = ()
    connections: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return max((f.verdict for f in self.findings), default=Verdict.UNCHANGED)
