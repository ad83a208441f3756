"""The bodies that the OpenAI API takes. Types are strict; fields that are not here are left alone and reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve.engines.base import Request, Sampling
from serve.openai.errors import ApiError

# Fields of OpenAI's own service that change nothing in an answer of ours: no warning about them.
HARMLESS = frozenset({
    "metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier", "store", "user",
})  # fmt: skip
MAX_CHOICES = 128
MAX_INPUTS = 2048


class Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class Body(Part):
    model: str | None = None

    def ignored(self) -> list[str]:
        """Names of the fields that were given and mean nothing here, as text that is safe in a header."""
        names = [name for name in self.model_extra or () if name not in HARMLESS]
        return [name if name.isascii() and name.isidentifier() and len(name) <= 64 else "?" for name in names[:20]]


class StreamOptions(Part):
    include_usage: bool | None = None


class JsonSchema(Part):
    name: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class ResponseFormat(Part):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None


class Common(Body):
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None

    @property
    def with_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self, max_tokens: int | None, logprobs: int | None, **form: Any) -> Sampling:
        return Sampling(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=None if self.top_k is None else max(self.top_k, 0),
            seed=None if self.seed is None else self.seed % 2**63,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            logprobs=logprobs,
            logit_bias=_token_ids(self.logit_bias or {}),
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            **form,
        )


class FunctionCall(Part):
    name: str
    arguments: str = "{}"


class ToolCallPart(Part):
    id: str = ""
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(Part):
    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[ToolCallPart] | None = None
    tool_call_id: str | None = None

    def plain(self, inputs: frozenset[str]) -> dict[str, Any]:
        """The message as engines read it; ``inputs`` are the kinds of parts that this one can."""
        role = "system" if self.role == "developer" else self.role
        result: dict[str, Any] = {"role": role, "content": read_content(self.content, inputs)}
        if self.tool_calls:
            result["tool_calls"] = [call.model_dump(include={"id", "type", "function"}) for call in self.tool_calls]
        if self.tool_call_id is not None:
            result["tool_call_id"] = self.tool_call_id
        return result


class Function(Part):
    name: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(Part):
    type: Literal["function"]
    function: Function


class NamedFunction(Part):
    name: str


class NamedTool(Part):
    type: Literal["function"]
    function: NamedFunction


class ChatBody(Common):
    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None

    def request(self, inputs: frozenset[str], adapter: str) -> Request:
        limit = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        chosen = self.tool_choice
        return Request(
            messages=tuple(message.plain(inputs) for message in self.messages),
            sampling=self.sampling(limit, logprobs, **wanted_form(self.response_format)),
            adapter=adapter,
            tools=tuple(tool.model_dump(exclude_none=True) for tool in self.tools or ()),
            tool_choice=chosen.function.name if isinstance(chosen, NamedTool) else chosen or "auto",
            parallel_tool_calls=self.parallel_tool_calls is not False,
        )


class CompletionBody(Common):
    prompt: (
        str
        | Annotated[list[int], Field(min_length=1)]
        | Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES)]
        | Annotated[list[list[int]], Field(min_length=1, max_length=MAX_CHOICES)]
    )
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    def requests(self, adapter: str) -> list[Request]:
        sampling = self.sampling(16 if self.max_tokens is None else self.max_tokens, self.logprobs)
        return [Request(prompt=text, sampling=sampling, adapter=adapter) for text in texts(self.prompt)]


class EmbeddingBody(Body):
    input: (
        str
        | Annotated[list[int], Field(min_length=1)]
        | Annotated[list[str], Field(min_length=1, max_length=MAX_INPUTS)]
        | Annotated[list[list[int]], Field(min_length=1, max_length=MAX_INPUTS)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None


class TextDocument(Part):
    text: str


class RerankBody(Body):
    query: str
    documents: Annotated[list[str | TextDocument], Field(min_length=1, max_length=MAX_INPUTS)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool | None = None

    def texts(self) -> list[str]:
        return [document if isinstance(document, str) else document.text for document in self.documents]


class UnloadAdapterBody(Body):
    lora_name: Annotated[str, Field(min_length=1, max_length=256)]
    lora_int_id: int | None = None


class LoadAdapterBody(UnloadAdapterBody):
    lora_path: Annotated[str, Field(min_length=1, max_length=4096)]
    load_inplace: bool | None = None


def texts(given: str | Sequence[int] | Sequence[str] | Sequence[list[int]]) -> list[str | list[int]]:
    """One text or list of token ids, or several of them -> always several."""
    if isinstance(given, str):
        return [given]
    if isinstance(given[0], int):
        return [list(given)]  # type: ignore[arg-type]
    return list(given)  # type: ignore[arg-type]


def read_content(content: str | list[dict[str, Any]] | None, inputs: frozenset[str]) -> str | list[dict[str, Any]]:
    """Text, or the parts where there is one that is not text."""
    if not isinstance(content, list):
        return content or ""
    kinds = {str(part.get("type")) for part in content} - {"text", "refusal"}
    readable = {"image_url"} if "image" in inputs else set()
    if kinds - readable:
        reads = "text and images" if readable else "text only"
        raise ApiError(400, f"this model reads {reads}, not {', '.join(sorted(kinds - readable))}", param="messages")
    if kinds:
        return content
    return "\n".join(str(part.get("text") or part.get("refusal") or "") for part in content)


def wanted_form(form: ResponseFormat | None) -> dict[str, Any]:
    """The fields of `Sampling` for a response_format."""
    if form is None or form.type == "text":
        return {}
    if form.type == "json_object":
        return {"json": True}
    if form.json_schema is None or form.json_schema.schema_ is None:
        where = "response_format.json_schema"
        raise ApiError(400, f"{where}: a schema is needed for type json_schema", param=where)
    return {"json_schema": form.json_schema.schema_}


def _token_ids(bias: Mapping[str, float]) -> dict[int, float]:
    try:
        return {int(token): value for token, value in bias.items()}
    except ValueError:
        raise ApiError(400, "logit_bias: its names are token ids", param="logit_bias") from None
