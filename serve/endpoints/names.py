"""Names of endpoints and deployments: they stand in urls, in folders and in headers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from promptflow.exceptions import ValidationException

_ENDPOINT = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
_DEPLOYMENT = re.compile(r"[A-Za-z](?:[A-Za-z0-9_-]{0,30}[A-Za-z0-9])?")


def check_endpoint_name(name: str) -> str:
    """The name; ValidationException for one that no endpoint may have."""
    if not _ENDPOINT.fullmatch(name):
        raise ValidationException(
            f"{name[:80]!r} is no name of an endpoint.",
            hint="3 to 32 letters, digits and -; it begins with a letter and does not end with -",
        )
    return name


def check_deployment_name(name: str) -> str:
    """The same of a deployment."""
    if not _DEPLOYMENT.fullmatch(name):
        raise ValidationException(
            f"{name[:80]!r} is no name of a deployment.",
            hint="at most 32 letters, digits, _ and -; it begins with a letter and does not end with -",
        )
    return name


def nearest(name: str, names: Sequence[str], create: str) -> str:
    """What to do where something is not called so."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are {', '.join(names[:5])}{', …' if len(names) > 5 else ''}" if names else f"none is there: {create}"
