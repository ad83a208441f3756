"""Errors of hubs: what their clients raise -> what went wrong, and what to do."""

from __future__ import annotations

from promptflow.exceptions import UserErrorException


class HubError(UserErrorException):
    """A hub said no, or nothing."""

    http_status = 502


class HubNotFoundError(HubError):
    """It has no such model, revision or file, or does not tell whoever asks."""

    http_status = 404


class HubGatedError(HubError):
    """The licence of the model must be accepted on the hub first."""

    http_status = 403


class HubTokenError(HubError):
    """The token is not valid, or not any more."""

    http_status = 401


class EmptyFileError(HubError):
    """A range begins past the end of its file."""


def error_from_hub(error: Exception, what: str, revision: str | None, endpoint: str) -> HubError:
    """The error of one request: ``what`` was asked for, such as the id of a model."""
    # By name: the client's classes would have to be imported to be compared.
    names = {base.__name__ for base in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", 0)
    at = f" at {revision}" if revision else ""
    if "GatedRepoError" in names:
        return HubGatedError(
            f"{what} is gated: its licence must be accepted before its files can be read.",
            hint=f"accept it at {endpoint}/{what.rpartition(' of ')[2]}, then `hf auth login` or set HF_TOKEN",
        )
    if "RevisionNotFoundError" in names:
        return HubNotFoundError(f"{what} has no revision {revision}.", hint="leave --revision out for the newest")
    if "EntryNotFoundError" in names:
        return HubNotFoundError(f"There is no {what}{at} on {endpoint}.")
    if "DisabledRepoError" in names:
        return HubNotFoundError(f"{what} has been disabled on {endpoint}.")
    if status == 401 and "RepositoryNotFoundError" not in names or "LocalTokenNotFoundError" in names:
        return HubTokenError(
            f"{endpoint} does not accept the token." if status else "There is no token for the hub.",
            hint="it may have been revoked: `hf auth login`, or set HF_TOKEN",
        )
    if "RepositoryNotFoundError" in names or status == 404:
        return HubNotFoundError(
            f"There is no {what} on {endpoint}, or this token may not see it.",
            hint="look it up with pf catalog search; for a private model `hf auth login` or set HF_TOKEN",
        )
    if "HFValidationError" in names:
        return HubNotFoundError(f"{what!r} is no name of a model.", hint="write ORGANISATION/NAME")
    if "OfflineModeIsEnabled" in names:
        return HubError("The hub is not asked while HF_HUB_OFFLINE is set.", hint="unset HF_HUB_OFFLINE")
    if status == 403:
        return HubTokenError(f"The token may not read {what}.", hint="use a token that may, with `hf auth login`")
    if status == 429:
        return HubError(f"{endpoint} takes no more requests for now.", hint="wait, or use a token: HF_TOKEN")
    if status:
        return HubError(f"{endpoint} answered {status} for {what}{at}.", hint="try again later")
    return HubError(
        f"{endpoint} did not answer for {what}{at}: {type(error).__name__}: {error}",
        hint="check the connection, or name another hub with HF_ENDPOINT or --endpoint",
    )
