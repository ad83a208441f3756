"""Pieces of an engine -> items of the Responses API, and the events that tell of them one by one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

from serve.engines.base import Piece, TokenLogprob, ToolCall
from serve.openai.answers import logprob_body


class Items:
    """Grows with each piece. ``push`` and ``end`` give the events without their numbers."""

    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        self._text: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._message = ""  # the id of the message that is being written

    def push(self, piece: Piece) -> Iterator[dict[str, Any]]:
        if piece.text or piece.logprobs:
            yield from self._write(piece.text, piece.logprobs)
        for call in piece.tool_calls:
            yield from self._close("completed")
            yield from self._call(call)

    def end(self, status: str) -> Iterator[dict[str, Any]]:
        """What is still open ends; an answer without anything is an empty message."""
        if not self.done and not self._message:
            yield from self._open()
        yield from self._close(status)

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._message, "output_index": len(self.done), "content_index": 0}

    def _open(self) -> Iterator[dict[str, Any]]:
        self._message = f"msg_{secrets.token_hex(16)}"
        yield self._told("response.output_item.added", self._body("in_progress", []))
        yield {"type": "response.content_part.added", **self._place, "part": part("", [])}

    def _write(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> Iterator[dict[str, Any]]:
        if not self._message:
            yield from self._open()
        told = [logprob_body(entry) for entry in logprobs]
        self._text.append(text)
        self._logprobs += told
        yield {"type": "response.output_text.delta", **self._place, "delta": text, "logprobs": told}

    def _close(self, status: str) -> Iterator[dict[str, Any]]:
        if not self._message:
            return
        text, logprobs = "".join(self._text), self._logprobs
        whole = part(text, logprobs)
        yield {"type": "response.output_text.done", **self._place, "text": text, "logprobs": logprobs}
        yield {"type": "response.content_part.done", **self._place, "part": whole}
        yield from self._finish(self._body(status, [whole]))
        self._message, self._text, self._logprobs = "", [], []

    def _call(self, call: ToolCall) -> Iterator[dict[str, Any]]:
        item = {
            "type": "function_call",
            "id": f"fc_{secrets.token_hex(16)}",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed",
        }
        place = {"item_id": item["id"], "output_index": len(self.done)}
        yield self._told("response.output_item.added", {**item, "arguments": "", "status": "in_progress"})
        yield {"type": "response.function_call_arguments.delta", **place, "delta": call.arguments}
        done = {"name": call.name, "arguments": call.arguments}
        yield {"type": "response.function_call_arguments.done", **place, **done}
        yield from self._finish(item)

    def _finish(self, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield self._told("response.output_item.done", item)
        self.done.append(item)

    def _told(self, kind: str, item: dict[str, Any]) -> dict[str, Any]:
        return {"type": kind, "output_index": len(self.done), "item": item}

    def _body(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {"type": "message", "id": self._message, "role": "assistant", "status": status, "content": content}


def part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
