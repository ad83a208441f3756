"""What can be wrong with endpoints."""

from __future__ import annotations

from promptflow.exceptions import UserErrorException


class EndpointNotFoundError(UserErrorException):
    """There is no endpoint, or no deployment, of this name."""

    http_status = 404


class EndpointConflictError(UserErrorException):
    """It is there already, was changed by somebody else meanwhile, or has traffic."""

    http_status = 409
