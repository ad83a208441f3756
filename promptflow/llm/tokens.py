"""How many tokens a prompt has: counted by tiktoken where it works, else estimated."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

MESSAGE_TOKENS = 3  # the marks around each message
NAME_TOKENS = 1
REPLY_TOKENS = 3  # every reply starts with the marks of an assistant's message
_IMAGE_TOKENS = 765  # a photograph of 1024 x 1024 in high detail
BYTES_PER_TOKEN = 4


def count_tokens(prompt: str | list[dict[str, Any]], model: str) -> int:
    """Tokens of a rendered prompt. With tiktoken it is what OpenAI's chat models count, images aside.

    Without tiktoken, or where it cannot load its tables (it downloads them), a token is taken as four bytes of UTF-8:
    within a quarter for English prose, too few for other scripts and for code.
    """
    count = _counter(model)
    if isinstance(prompt, str):
        return count(prompt)
    return sum(_message_tokens(message, count) for message in prompt) + REPLY_TOKENS


def _message_tokens(message: dict[str, Any], count: Callable[[str], int]) -> int:
    tokens = MESSAGE_TOKENS + (NAME_TOKENS if "name" in message else 0)
    for value in message.values():
        if isinstance(value, str):
            tokens += count(value)
        elif isinstance(value, list):
            tokens += sum(_part_tokens(part, count) for part in value)
    return tokens


def _part_tokens(part: Any, count: Callable[[str], int]) -> int:
    if not isinstance(part, dict) or part.get("type", "text") not in ("text", "image_url"):
        return count(str(part))
    return _IMAGE_TOKENS if part.get("type") == "image_url" else count(part.get("text") or "")


def _counter(model: str) -> Callable[[str], int]:
    try:
        import tiktoken

        try:
            encoding = tiktoken.encoding_for_model(model)
        except KeyError:
            encoding = tiktoken.get_encoding("cl100k_base")
    except Exception as error:  # not installed, or its tables cannot be downloaded: whatever its HTTP client raises
        logger.warning("Tokens are estimated from the length of the text: tiktoken cannot be used (%s).", error)
        return lambda text: math.ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN)
    return lambda text: len(encoding.encode(text, disallowed_special=()))
