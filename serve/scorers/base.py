"""`Scorer`: what answers the requests of one deployment. The nouns that its process needs to know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from promptflow.exceptions import SystemErrorException, UserErrorException

JSON = "application/json"


class LoadError(UserErrorException):
    """The model, or the user's ``init``, could not be loaded. The process ends with it."""


class InputError(UserErrorException):
    """The request does not hold what the model takes."""

    http_status = 400


class NotThereError(UserErrorException):
    """Nothing answers at this path."""

    http_status = 404

    def __init__(self, path: str) -> None:
        super().__init__(f"There is no {path} here.")


class MethodError(UserErrorException):
    """The path is there, for requests of another method."""

    http_status = 405

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"{path} takes POST, and this is {method}.")


class MediaError(UserErrorException):
    """The body is of a type that nothing reads here."""

    http_status = 415

    def __init__(self, media: str, known: str) -> None:
        super().__init__(f"The content type {media} is not taken here.", hint=known)


class ModelError(SystemErrorException):
    """The user's code, or the model, failed on a request that could be read. ``traceback`` is for the log alone."""

    http_status = 500

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came: ``query`` without the question mark, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: a body that is ready to be sent."""

    body: bytes
    status: int = 200
    media: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Scorer(ABC):
    """Loaded once in its process; then called from as many threads at once as the deployment allows."""

    @abstractmethod
    def load(self) -> None:
        """Make ready. LoadError says what is missing and how to mend it."""

    @abstractmethod
    def answer(self, call: Call) -> Answer:
        """Answer ``/score``, and what else the kind has. InputError for what the request lacks, ModelError for what
        failed on it, NotThereError for a path that is none of its own."""

    def swagger(self, version: int) -> dict[str, Any]:
        """OpenAPI 2 or 3, of what ``/score`` takes and gives."""
        raise InputError("This deployment has no swagger document.")
