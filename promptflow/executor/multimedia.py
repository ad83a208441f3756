"""Images in a flow's values: from their JSON form to `Image` on the way in, to files or base64 on the way out.

JSON forms, by the flow's ``message_format``: ``basic`` is ``{"data:image/png;path|base64|url": value}``;
``openai-vision`` is ``{"type": "image_url", "image_url": {"url": …}}`` or
``{"type": "image_file", "image_file": {"path": …}}``, and ``{"type": "text", "text": …}`` for text.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from promptflow.contracts.flow import FlowInput
from promptflow.contracts.multimedia import Image, PFBytes, Text, guess_image_type
from promptflow.contracts.tool import ValueType
from promptflow.exceptions import InvalidImageInput, LoadMultimediaDataError

VISION = "openai-vision"
_BASIC_KEY = re.compile(r"^data:image/(.*);(path|base64|url)$")
_DATA_URL = re.compile(r"^data:(image/[^;,]*);base64,(.*)$", re.DOTALL)
_NO_MAGIC = {".avif", ".heic", ".heif", ".ico", ".jp2", ".jxl", ".svg"}  # kinds that guess_image_type does not know


def is_image_dict(value: Any, message_format: str = "basic") -> bool:
    """Whether ``value`` is the JSON form of an image."""
    if not isinstance(value, dict) or not value:
        return False
    if message_format == VISION:
        kind = value.get("type")
        return kind in ("image_url", "image_file") and isinstance(value.get(kind), dict)
    key = next(iter(value))
    return len(value) == 1 and isinstance(key, str) and _BASIC_KEY.match(key) is not None


def create_image(value: Any, folder: Path, message_format: str = "basic") -> Image:
    """An image from its JSON form, a path, a URL or base64 text. Raises InvalidImageInput."""
    if isinstance(value, Image):
        return value
    if isinstance(value, PFBytes):
        return Image(bytes(value), value._mime_type, value.source_url)
    if is_image_dict(value, message_format):
        return _from_vision(value, folder) if message_format == VISION else _from_basic(value, folder)
    if isinstance(value, str) and value.lstrip().startswith("{"):  # as a command line gives it
        value = ValueType.OBJECT.parse(value)
        if is_image_dict(value, message_format):
            return create_image(value, folder, message_format)
    if isinstance(value, str) and value:
        return _from_text(value, folder)
    raise InvalidImageInput(
        f"The image input is not valid: found {type(value).__name__}.",
        hint='write {"data:image/png;path": "picture.png"}, or ;base64 or ;url',
    )


def load_images(value: Any, folder: Path, message_format: str = "basic") -> Any:
    """``value`` with every JSON form of an image inside it made an Image."""
    if isinstance(value, list):
        return [load_images(item, folder, message_format) for item in value]
    if isinstance(value, dict):
        if is_image_dict(value, message_format):
            return create_image(value, folder, message_format)
        if message_format == VISION and len(value) == 2 and value.get("type") == "text" and "text" in value:
            return Text.deserialize(value)
        return {key: load_images(item, folder, message_format) for key, item in value.items()}
    return value


def load_input_images(
    definitions: Mapping[str, FlowInput], values: dict[str, Any], folder: Path, message_format: str = "basic"
) -> dict[str, Any]:
    """Flow inputs with their images loaded. Raises LoadMultimediaDataError naming the input."""
    for name, definition in definitions.items():
        if name not in values:
            continue
        try:
            if definition.type is ValueType.IMAGE:
                item = values[name]
                many = isinstance(item, list)
                images = [create_image(i, folder, message_format) for i in (item if many else [item])]
                values[name] = images if many else images[0]
            elif definition.type in (ValueType.LIST, ValueType.OBJECT):
                values[name] = load_images(values[name], folder, message_format)
        except (InvalidImageInput, OSError) as error:
            raise LoadMultimediaDataError(
                f"Failed to load image for input '{name}': ({type(error).__name__}) {error}",
                hint=getattr(error, "hint", ""),
            ) from error
    return values


def has_image(value: Any) -> bool:
    """Whether an Image stands anywhere in ``value``."""
    waiting, seen = [value], set()
    while waiting:  # not by recursion: a tool's value may be deep, or inside itself
        item = waiting.pop()
        if isinstance(item, PFBytes):
            return True
        if isinstance(item, dict | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(item.values() if isinstance(item, dict) else item)
    return False


def map_images(value: Any, convert: Callable[[PFBytes], Any]) -> Any:
    """``value`` with ``convert`` applied to every image in it."""
    if isinstance(value, PFBytes):
        return convert(value)
    if isinstance(value, dict):
        return {key: map_images(item, convert) for key, item in value.items()}
    if isinstance(value, list):
        return [map_images(item, convert) for item in value]
    return value


def persist_images(value: Any, folder: Path, message_format: str = "basic", *, absolute: bool = False) -> Any:
    """``value`` with its images written to ``folder`` and replaced by references to the files."""

    def save(image: PFBytes) -> dict[str, Any]:
        if image.source_url:
            if message_format == VISION:
                return {"type": "image_url", "image_url": {"url": image.source_url}}
            return {f"data:{image._mime_type};url": image.source_url}
        extension = image._mime_type.rpartition("/")[2]
        name = f"{uuid.uuid4()}.{extension}" if extension != "*" else str(uuid.uuid4())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image)
        path = (folder / name).resolve().as_posix() if absolute else name
        if message_format == VISION:
            return {"type": "image_file", "image_file": {"path": path}}
        return {f"data:{image._mime_type};path": path}

    return map_images(value, save)


def images_to_base64(value: Any, message_format: str = "basic") -> Any:
    """``value`` with its images as base64 JSON forms."""

    def encode(image: PFBytes) -> dict[str, Any]:
        if message_format == VISION:
            return {"type": "image_url", "image_url": {"url": image.to_base64(with_type=True)}}
        return {f"data:{image._mime_type};base64": image.to_base64()}

    return map_images(value, encode)


def _from_basic(value: dict[str, Any], folder: Path) -> Image:
    key, item = next(iter(value.items()))
    match = _BASIC_KEY.match(key)
    assert match is not None  # is_image_dict has looked
    mime_type, resource = f"image/{match.group(1)}", match.group(2)
    if resource == "path":
        return _from_file(folder / item, mime_type)
    if resource == "url":
        return _from_url(item, mime_type)
    return _from_base64(item, mime_type)


def _from_vision(value: dict[str, Any], folder: Path) -> Image:
    if value["type"] == "image_file":
        return _from_file(folder / value["image_file"].get("path", ""))
    url = str(value["image_url"].get("url", ""))
    return _from_text(url, folder) if url.startswith("data:") else _from_url(url)


def _from_text(value: str, folder: Path) -> Image:
    match = _DATA_URL.match(value)
    if match:
        return _from_base64(match.group(2), match.group(1))
    parsed = urlparse(value)
    if parsed.scheme in ("http", "https") and parsed.netloc:
        return _from_url(value)
    if len(value) < 4096 and (folder / value).is_file():
        return _from_file(folder / value)
    return _from_base64(value, None)


def _from_url(url: str, mime_type: str | None = None) -> Image:
    from promptflow.executor.image_url import fetch_image  # http.client and urllib: 18 ms that few flows need

    return Image(fetch_image(url), mime_type, source_url=url)


def _from_file(path: Path, mime_type: str | None = None) -> Image:
    """Reads pictures only: the path may come from a stranger's input, and the content goes to a model."""
    try:
        value = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise InvalidImageInput(f"Cannot read the image file {path}: {error.strerror}.", location=str(path)) from error
    if value is None:
        raise InvalidImageInput(f"Cannot read the image file {path}: No such file.", location=str(path))
    if guess_image_type(value) == "image/*" and path.suffix.lower() not in _NO_MAGIC:
        raise InvalidImageInput(f"The file {path} is no image.", location=str(path))
    return Image(value, None if mime_type in (None, "image/*") else mime_type)


def _from_base64(text: str, mime_type: str | None) -> Image:
    try:
        value = base64.b64decode(text.rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError, AttributeError) as error:
        raise InvalidImageInput(
            f"Invalid base64 image: {str(text)[:40]}….",
            hint="if it is a path: there is no such file in the flow's folder",
        ) from error
    return Image(value, None if mime_type in (None, "image/*") else mime_type)
