"""What another process needs to go by the same tape."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Handover:
    """``http`` and ``secrets`` are of a recording, ``note`` and ``allow`` of a replay. For pipes, not for files."""

    path: str
    replays: bool
    http: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    note: str | None = None
    allow: str | None = field(default=None, repr=False)
