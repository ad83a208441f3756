"""What the user said of a model, once and for ever: its licence is accepted, its pickles or its code may be loaded."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import Any

from promptflow.workspace import Workspace

LICENCE, PICKLE, CODE = "licence", "pickle", "code"
_KIND = "model.consent."


@dataclass(frozen=True)
class Consent:
    """Who said so, when (ISO 8601), and the facts then: the licence, the commit, the hub."""

    model: str
    what: str
    user: str
    time: str
    facts: dict[str, Any]


class Consents:
    """Kept as events of the workspace: they are added to, and never changed."""

    def __init__(self, workspace: Workspace) -> None:
        self._events = workspace.events

    def give(self, model: str, what: str, **facts: Any) -> None:
        """``what``: LICENCE, PICKLE or CODE."""
        self._events.append(_KIND + what, model, {"user": _user(), **facts})

    def of(self, model: str) -> list[Consent]:
        """All that was said of a model, oldest first."""
        return [
            Consent(
                model,
                event.kind.removeprefix(_KIND),
                event.payload.get("user", ""),
                event.time,
                {key: value for key, value in event.payload.items() if key != "user"},
            )
            for event in self._events.list(kind=_KIND, subject=model)
        ]

    def given(self, model: str, what: str, **facts: Any) -> bool:
        """Whether that was said, of these facts: another licence under the same name needs another word."""
        return any(said.what == what and facts.items() <= said.facts.items() for said in self.of(model))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return ""
