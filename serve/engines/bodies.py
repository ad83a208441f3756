"""The bodies of the OpenAI API that the engine server reads. Fields it does not know are left alone."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from serve.engines.base import Sampling


class StreamOptions(BaseModel):
    include_usage: bool = False


class ResponseFormat(BaseModel):
    type: Literal["text", "json_object", "json_schema"] = "text"


class Common(BaseModel):
    model: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    n: Annotated[int, Field(ge=1, le=32)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def sampling(self, max_tokens: int | None, logprobs: int | None, json: bool = False) -> Sampling:
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Sampling(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=None if self.seed is None else self.seed % 2**63,
            stop=tuple(stop),
            logprobs=logprobs,
            json=json,
        )


class Message(BaseModel):
    role: str
    content: str | list[dict[str, Any]] | None = None

    def plain(self) -> dict[str, str]:
        """Role and text; of a list of parts the text parts. ValueError for a part that a text model cannot read."""
        if not isinstance(self.content, list):
            return {"role": self.role, "content": self.content or ""}
        kinds = {str(part.get("type")) for part in self.content}
        if kinds - {"text"}:
            raise ValueError(f"this model reads text only, not {', '.join(sorted(kinds - {'text'}))}")
        return {"role": self.role, "content": "\n".join(str(part.get("text", "")) for part in self.content)}


class ChatBody(Common):
    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None

    def to_sampling(self) -> Sampling:
        limit = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        as_json = self.response_format is not None and self.response_format.type != "text"
        return self.sampling(limit, (self.top_logprobs or 0) if self.logprobs else None, as_json)


class CompletionBody(Common):
    prompt: str | list[str]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    def to_sampling(self) -> Sampling:
        return self.sampling(16 if self.max_tokens is None else self.max_tokens, self.logprobs)
