"""Prompts with images: the parts of a message as a model with eyes reads them."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need
from serve.engines.base import PromptTooLongError, Request, UnsupportedError
from serve.engines.prompts import Prompts
from serve.engines.row import Row

transformers = need("transformers", extra="local")

MOST_PIXELS = 64 * 2**20  # a picture may say that it is huge in a few bytes


class ImagePrompts(Prompts):
    """Text through the template as ever; the model's own processor puts as many tokens in as its images take."""

    def __init__(self, model: str, folder: Path, tokenizer: Any, context: int, size: int) -> None:
        super().__init__(model, folder, tokenizer, context, size)
        try:
            self.processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
        except Exception as error:  # transformers raises all kinds, by what is wrong with the files
            raise ValidationException(f"The image processor in {folder} cannot be loaded: {error}") from error

    async def row(self, request: Request) -> Row:
        images = [image for message in request.messages or () for image in images_of(message)]
        if not images:
            return await super().row(request)
        parted = [{**message, "content": placed(message.get("content"))} for message in request.messages or ()]
        given = self.processor(text=[self._parted(parted)], images=images, return_tensors="pt")
        ids = given.pop("input_ids")[0].tolist()
        given.pop("attention_mask", None)
        if len(ids) >= self.context:
            raise PromptTooLongError(
                f"The prompt has {len(ids)} tokens with its images; '{self.model}' reads fewer than {self.context}."
            )
        row = await super().row(Request(None, ids, request.sampling, request.adapter))
        row.inputs = dict(given)
        return row

    def _parted(self, messages: Sequence[Mapping[str, Any]]) -> str:
        return self.template(messages, parts=True)


def images_of(message: Mapping[str, Any]) -> list[Any]:
    """The pictures of a message, decoded; each must be in the request itself, as a data URL."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return [
        decoded(str((part.get("image_url") or {}).get("url", ""))) for part in parts if part.get("type") == "image_url"
    ]


def decoded(url: str) -> Any:
    if not url.startswith("data:"):
        raise UnsupportedError("Images must be data URLs: the engine opens no connection.")
    pillow = need("PIL.Image", extra="local")
    try:
        image = pillow.open(io.BytesIO(base64.b64decode(url.partition(",")[2], validate=True)))
        if image.width * image.height > MOST_PIXELS:
            raise ValidationException(f"The image has {image.width} x {image.height} pixels: too many.")
        return image.convert("RGB")
    except (binascii.Error, OSError) as error:
        raise ValidationException(f"The image cannot be read: {error}") from error


def placed(content: Any) -> Any:
    """Parts as templates read them: an image is a part of type image, whatever it shows."""
    if not isinstance(content, list):
        return content
    kinds = {str(part.get("type")) for part in content} - {"text", "image_url"}
    if kinds:
        raise UnsupportedError(f"This model reads text and images, not {', '.join(sorted(kinds))}.")
    return [{"type": "image"} if part["type"] == "image_url" else part for part in content]
