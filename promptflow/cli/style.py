"""Colour and characters: whether this stream may have them."""

from __future__ import annotations

import os
from typing import Any

_CODES = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold": "1", "dim": "2"}


def wants_color(stream: Any, forbidden: bool = False) -> bool:
    """On for a terminal, unless `--no-color`, NO_COLOR or TERM=dumb; FORCE_COLOR turns it on for a pipe as well."""
    if forbidden or os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # ValueError: the stream is closed
        return False


def paint(text: str, style: str, on: bool) -> str:
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if on and text else text


def speaks_unicode(stream: Any) -> bool:
    return (getattr(stream, "encoding", "") or "").lower().replace("-", "") in ("utf8", "utf8sig", "utf16")
