"""The OpenAI-compatible API."""

from __future__ import annotations

from serve.openai.app import OpenAIApp
from serve.openai.keys import Key, Keys, Limit, read_keys

__all__ = ["Key", "Keys", "Limit", "OpenAIApp", "read_keys"]
