"""Refusals, as the hub's clients understand them."""

from __future__ import annotations

from promptflow.exceptions import UserErrorException


class MirrorError(UserErrorException):
    """A refusal. ``code`` is the hub's name for it, by which its clients choose the error that they raise."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class RepoNotFoundError(MirrorError):
    def __init__(self, id: str) -> None:
        super().__init__(404, f"There is no {id} on this mirror.", "RepoNotFound")


class RevisionNotFoundError(MirrorError):
    def __init__(self, id: str, revision: str) -> None:
        super().__init__(404, f"{id} has no revision {revision}.", "RevisionNotFound")


class EntryNotFoundError(MirrorError):
    def __init__(self, id: str, path: str) -> None:
        super().__init__(404, f"{id} has no file {path} at this revision.", "EntryNotFound")
