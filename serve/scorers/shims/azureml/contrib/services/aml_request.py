"""`AMLRequest` and `rawhttp` under the names that scripts import: a ``run`` that takes the whole request."""

from __future__ import annotations

import io
import json as _json
from collections.abc import Callable, Iterable
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, TypeVar
from urllib.parse import parse_qsl

T = TypeVar("T")


def rawhttp(run: Callable[..., Any]) -> Callable[..., Any]:
    """Have ``run`` called with an `AMLRequest`."""
    run.__azureml_rawhttp__ = True  # type: ignore[attr-defined]
    return run


class FileStorage(io.BytesIO):
    """A file of a form."""

    def __init__(self, data: bytes, filename: str, content_type: str) -> None:
        super().__init__(data)
        self.filename, self.content_type = filename, content_type

    @property
    def stream(self) -> FileStorage:
        return self

    def save(self, place: str) -> None:
        with open(place, "wb") as file:
            file.write(self.getvalue())


class _Headers(dict[str, str]):
    """Names in any case."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class Several(dict[str, T]):
    """Values by name: the first of each, and all of them by `getlist`."""

    def __init__(self, pairs: Iterable[tuple[str, T]]) -> None:
        super().__init__()
        self._all: dict[str, list[T]] = {}
        for name, value in pairs:
            self._all.setdefault(name, []).append(value)
            self.setdefault(name, value)

    def getlist(self, name: str) -> list[T]:
        return [*self._all.get(name, ())]


class AMLRequest:
    """The parts of Flask's request that scripts use."""

    def __init__(self, call: Any) -> None:
        self.method, self.path = call.method, call.path
        self.headers = _Headers(call.headers)
        self.full_path = f"{call.path}?{call.query}"
        self.url = f"http://{self.headers.get('host', 'localhost')}{self.full_path if call.query else call.path}"
        self.args = Several(parse_qsl(call.query, keep_blank_values=True))
        self.query_string = call.query.encode()
        self.data: bytes = call.body
        self.content_type = self.headers.get("content-type", "")
        self._parts: list[tuple[str, bytes, str | None, str]] | None = None

    def get_data(self, cache: bool = True, as_text: bool = False, parse_form_data: bool = False) -> bytes | str:
        return self.data.decode() if as_text else self.data

    @property
    def json(self) -> Any:
        return self.get_json()

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        try:
            return _json.loads(self.data)
        except ValueError:
            if silent:
                return None
            raise

    @property
    def form(self) -> Several[str]:
        if self.content_type.startswith("application/x-www-form-urlencoded"):
            return Several(parse_qsl(self.data.decode(), keep_blank_values=True))
        return Several((name, data.decode()) for name, data, filename, _ in self._form() if filename is None)

    @property
    def files(self) -> Several[FileStorage]:
        return Several(
            (name, FileStorage(data, filename, kind))
            for name, data, filename, kind in self._form()
            if filename is not None
        )

    def _form(self) -> list[tuple[str, bytes, str | None, str]]:
        if self._parts is None:
            self._parts = []
            if self.content_type.startswith("multipart/form-data"):
                head = b"Content-Type: " + self.content_type.encode("latin-1") + b"\r\n\r\n"
                for part in BytesParser(policy=HTTP).parsebytes(head + self.data).iter_parts():
                    name = str(part.get_param("name", header="content-disposition"))
                    data = bytes(part.get_payload(decode=True) or b"")
                    self._parts.append((name, data, part.get_filename(), part.get_content_type()))
        return self._parts
