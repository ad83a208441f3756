"""Times as the workspace keeps them."""

from __future__ import annotations

from datetime import UTC, datetime


def now_text() -> str:
    """The present in UTC, ISO 8601 with microseconds: of fixed width, so that texts sort as times do."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
