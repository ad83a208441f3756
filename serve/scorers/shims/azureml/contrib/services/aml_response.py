"""`AMLResponse` under the name that scripts import: an answer with a status and headers of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class AMLResponse:
    """``message`` goes out as it is, or as JSON with ``json_str``."""

    def __init__(
        self,
        message: Any,
        status_code: int,
        headers: Mapping[str, str] | None = None,
        json_str: bool = False,
        run_function_failed: bool = False,
    ) -> None:
        self.status_code = status_code
        self.headers = {"content-type": "application/json", **(headers or {})}
        self._data = json.dumps(message).encode() if json_str else self._bytes(message)

    def get_data(self) -> bytes:
        return self._data

    @property
    def mimetype(self) -> str:
        return self.headers["content-type"].partition(";")[0]

    @mimetype.setter
    def mimetype(self, value: str) -> None:
        self.headers["content-type"] = value

    @staticmethod
    def _bytes(message: Any) -> bytes:
        if isinstance(message, bytes):
            return message
        return message.encode() if isinstance(message, str) else json.dumps(message).encode()
