"""What commands say to the running server of their workspace."""

from __future__ import annotations

import json
import urllib.request
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote

from promptflow.exceptions import UserErrorException
from serve.supervisor.beacon import Beacon

UNAUTHORIZED, NOT_FOUND = 401, 404
READY, SCALED_TO_ZERO, CRASH_LOOP, FAILED = "Ready", "ScaledToZero", "CrashLoop", "Failed"
_SECONDS = 60.0


class ServerRefusedError(UserErrorException):
    """The server answered, with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"The server said no ({code}): {message}")
        self.code = code


class ServerClient:
    """Speaks to one server of this machine, whatever proxies the environment names."""

    def __init__(self, beacon: Beacon) -> None:
        self.beacon = beacon
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def reload(self) -> None:
        """Have what the store says now put in force; it is when this returns."""
        self._call("POST", "/api/reload")

    def status(self, endpoint: str, deployment: str) -> dict[str, Any]:
        """How a deployment's instances are; ``DeploymentStatus`` of the API."""
        path = f"/api/v1/endpoints/{quote(endpoint, safe='')}/deployments/{quote(deployment, safe='')}/status"
        found: dict[str, Any] = self._call("GET", path)
        return found

    def _call(self, method: str, path: str) -> Any:
        request = urllib.request.Request(
            self.beacon.url + path, method=method, headers={"Authorization": f"Bearer {self.beacon.key}"}
        )
        try:
            with self._opener.open(request, timeout=_SECONDS) as answer:
                return json.load(answer)
        except HTTPError as error:
            with error:
                raise ServerRefusedError(error.code, _message(error.read())) from error
        except (URLError, OSError, ValueError) as error:
            raise UserErrorException(
                f"The server at {self.beacon.url} does not answer: {getattr(error, 'reason', error)}.",
                hint="pf server status",
            ) from error


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")
