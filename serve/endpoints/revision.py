"""Of two that change one thing at once, one is told."""

from __future__ import annotations

from serve.endpoints.errors import EndpointConflictError, EndpointNotFoundError


def check_revision(what: str, read: int, current: int) -> None:
    """``read`` is the revision that a change is of, and ``current`` the one that is kept; 0: there is none."""
    if read == current:
        return
    if not read:
        raise EndpointConflictError(f"{what} is there already.", hint="update it instead")
    if not current:
        raise EndpointNotFoundError(f"{what} was deleted meanwhile.")
    raise EndpointConflictError(
        f"{what} was changed by somebody else meanwhile: it is at revision {current}, and this change is of {read}.",
        hint="look at it again, then repeat the change",
    )
