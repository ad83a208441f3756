"""Images and annotated text as values that travel through a flow."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)


def guess_image_type(value: bytes) -> str:
    """The MIME type that the first bytes of an image tell, or ``image/*``."""
    if value[:4] == b"RIFF" and value[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for magic, mime in _MAGIC if value.startswith(magic)), "image/*")


class PFBytes(bytes):
    """Bytes with a MIME type and, when they came from one, their URL."""

    def __new__(cls, value: bytes, *args: Any, **kwargs: Any) -> PFBytes:
        return super().__new__(cls, value)

    def __init__(self, value: bytes, mime_type: str, source_url: str | None = None) -> None:
        super().__init__()
        self._hash = hashlib.sha1(value, usedforsecurity=False).hexdigest()[:8]
        self._mime_type = mime_type.lower()
        self._source_url = source_url

    @property
    def source_url(self) -> str | None:
        return self._source_url

    def to_base64(self, with_type: bool = False) -> str:
        text = base64.b64encode(self).decode("ascii")
        return f"data:{self._mime_type};base64,{text}" if with_type else text

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (bytes(self), self._mime_type, self._source_url))


class Image(PFBytes):
    """An image. Its text form is ``Image(<hash>)``, which is how templates carry it."""

    def __init__(self, value: bytes, mime_type: str | None = None, source_url: str | None = None) -> None:
        super().__init__(value, mime_type or guess_image_type(value), source_url)

    def __str__(self) -> str:
        return f"Image({self._hash})"

    __repr__ = __str__

    def serialize(self, encoder: Callable[[Image], Any] | None = None) -> Any:
        return str(self) if encoder is None else encoder(self)


class Text(str):
    """Text with annotations, as assistants return it."""

    _annotations: list[Any] | None

    def __new__(cls, value: str, annotations: list[Any] | None = None) -> Text:
        text = super().__new__(cls, value)
        text._annotations = annotations
        return text

    @classmethod
    def deserialize(cls, data: Mapping[str, Any]) -> Text:
        text = data.get("text", "")
        if isinstance(text, Mapping):
            return cls(text.get("value", ""), text.get("annotations", []))
        return cls(text)

    def serialize(self) -> dict[str, Any]:
        if self._annotations is None:
            return {"type": "text", "text": str(self)}
        return {"type": "text", "text": {"value": str(self), "annotations": self._annotations}}
