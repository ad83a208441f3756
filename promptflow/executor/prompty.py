"""A prompty as a callable: render the prompt, ask the model, give the first choice (or the whole answer)."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import Any, Self

from promptflow.connections.models import _Connection
from promptflow.connections.provider import get_connection
from promptflow.contracts.flow import FlowOutput
from promptflow.contracts.flow_yaml import raise_problems
from promptflow.contracts.prompty import SUFFIX, PromptyFlow, PromptyModel, check, port, read_prompty_file
from promptflow.contracts.run import AggregationResult, LineResult, Status
from promptflow.contracts.tool import ValueType
from promptflow.exceptions import (
    MissingRequiredInputError,
    PromptflowException,
    UnexpectedError,
    UserErrorException,
    WrappedOpenAIError,
    error_to_dict,
)
from promptflow.executor.activation import activated
from promptflow.executor.entry import output_dict
from promptflow.executor.inputs import apply_inputs
from promptflow.executor.line import FIRST_ATTEMPT, Attempt, Line, flow_info, now
from promptflow.executor.multimedia import create_image, is_image_dict
from promptflow.executor.origin import Origin
from promptflow.executor.prompty_model import (
    ConnectionLookup,
    connection_of,
    json_result,
    request_body,
    result_of,
    wants_json,
)
from promptflow.executor.prompty_references import merged, resolve, sample_inputs
from promptflow.llm import background
from promptflow.llm.calls import CHAT, COMPLETION, ask
from promptflow.llm.messages import build_messages, image_lines
from promptflow.llm.response import ApiObject
from promptflow.llm.streams import ChunkStream, TextStream, chat_text, completion_text
from promptflow.llm.tokens import count_tokens
from promptflow.tooling.render import render
from promptflow.tracing.spans import Span, current_span, run_context, span
from promptflow.workspace import Workspace

_IMAGE_TEXT = re.compile(r"^data:(image/[^;]*);(path|base64|url):\s*(.*)$", re.DOTALL)


class Prompty:
    """A .prompty file, loaded. Call it with its inputs as keywords."""

    def __init__(
        self,
        path: str | PathLike[str],
        model: Mapping[str, Any] | None = None,
        *,
        connections: ConnectionLookup | None = None,
        **overrides: Any,
    ) -> None:
        """``model`` and ``overrides`` (``sample``, ``inputs``, ``outputs`` …) go on top of the front matter.

        ``connections`` finds a connection by name; by default the workspace's.
        """
        file = Path(path)
        source = read_prompty_file(file)
        folder = file.parent
        data = merged(resolve(source.data, folder), resolve(overrides, folder))
        data["model"] = merged(data.get("model"), resolve(dict(model or {}), folder))
        problems, self.warnings = check(data, source.marks.at)
        if problems:
            raise_problems(problems, file)
        self._data = data
        self._template = source.template
        self._path = file.resolve()
        settings = data["model"]
        self._model = PromptyModel(
            configuration=settings["configuration"],
            parameters=dict(settings.get("parameters") or {}),
            api="completion" if settings.get("api") == "completion" else "chat",
            response="all" if settings.get("response") == "all" else "first",
        )
        self._inputs: dict[str, Any] = data.get("inputs") or {}
        self._outputs: dict[str, Any] = data.get("outputs") or {}
        self._name = str(data.get("name") or file.stem)
        self._sample = data.get("sample")
        self._connections = connections or workspace_connection
        self._connection: _Connection | None = None
        self._lock = threading.Lock()

    @classmethod
    def load(cls, source: str | PathLike[str], **kwargs: Any) -> Self:
        """Load ``source``, a .prompty file; ``model=…`` overrides parts of its model."""
        file = Path(source)
        if not file.exists():
            raise UserErrorException(f"Source {file.absolute().as_posix()} does not exist")
        if file.suffix != SUFFIX:
            raise UserErrorException("Source must be a file with .prompty extension.")
        return cls(file, **kwargs)

    @property
    def path(self) -> Path:
        return self._path

    @property
    def code(self) -> Path:
        """Its folder."""
        return self._path.parent

    @property
    def name(self) -> str:
        return self._name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Ask the model: text, a dict (JSON, tool calls), the whole answer (``response: all``) or a generator."""
        _only_keywords(args, "called")
        timeout = kwargs.get("timeout")
        result = background.run(self.ask(self._resolve_inputs(kwargs), timeout))
        return result.generator() if isinstance(result, TextStream) else result

    def render(self, *args: Any, **kwargs: Any) -> str:
        """The prompt as text; messages as Python writes a list."""
        _only_keywords(args, "rendered")
        return str(self.prompt(self._resolve_inputs(kwargs)))

    def estimate_token_count(self, *args: Any, **kwargs: Any) -> int:
        """Tokens of the prompt, plus those that the answer may have (``max_tokens``)."""
        _only_keywords(args, "rendered")
        prompt = self.prompt(self._resolve_inputs(kwargs))
        most = self._model.parameters.get("max_tokens")
        if most is not None and (isinstance(most, bool) or not isinstance(most, int)):
            raise UserErrorException("Max_token needs to be integer.", hint="write max_tokens: 256")
        if most is not None and most <= 1:
            raise UserErrorException(f"{most} is less than the minimum of max_tokens.")
        return count_tokens(prompt, self._model._model or "") + (most or 0)

    def prompt(self, inputs: Mapping[str, Any]) -> Any:
        """The rendered prompt: messages, or text for the completion API. Role lines in inputs stay text."""
        if self._model.api == "completion":
            return render(image_lines(self._template), dict(inputs))
        return build_messages(self._template, inputs, outside=inputs.keys())

    async def ask(self, inputs: Mapping[str, Any], timeout: float | None = None) -> Any:
        """One call with inputs that are complete; streams come as they are."""
        with self.span(inputs) as at:
            result = await self.answer(inputs, timeout)
            at.set_output(None if isinstance(result, ChunkStream | TextStream) else result)
            return result

    def span(self, inputs: Mapping[str, Any], kind: str = "Function") -> Span:
        attributes = {"function": "Prompty.__call__", "prompt.template": self._template}
        return span(self._name, kind, inputs=inputs, attributes=attributes)

    async def answer(self, inputs: Mapping[str, Any], timeout: float | None = None) -> Any:
        """As `ask`, without a span of its own."""
        model = self._model
        current = current_span()
        if current is not None:
            current.set_attribute("prompt.variables", dict(inputs))
            prompt = {"prompt.template": self._template, "prompt.variables": dict(inputs)}
            current.add_event("promptflow.prompt.template", prompt)
        body = request_body(model, self.prompt(inputs))
        route = COMPLETION if model.api == "completion" else CHAT
        headers = model.parameters.get("extra_headers")
        try:
            connection = await self._find_connection()
            answer = await ask(connection, route, model._model or "", body, timeout=timeout, headers=headers)
        except WrappedOpenAIError as error:
            if error.status_code == 401:
                self._connection = None  # its key may have been changed since
            raise
        if model.response == "all":
            return answer
        if isinstance(answer, ChunkStream):
            return await self._streamed(TextStream(answer, _first_choice(route)))
        return result_of(answer, model, self._outputs)

    async def _streamed(self, stream: TextStream) -> Any:
        if not wants_json(self._model):
            return stream
        return json_result("".join([text async for text in stream]), self._outputs)

    async def _find_connection(self) -> _Connection:
        # On a thread: the store is a database, another provider a server, and `local` starts a process.
        if self._connection is not None:
            return self._connection
        return await asyncio.to_thread(self._look_up_connection)

    def _look_up_connection(self) -> _Connection:
        with self._lock:
            if self._connection is None:
                self._connection = connection_of(self._model.configuration, self._connections)
            return self._connection

    def _resolve_inputs(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs with defaults filled in and images loaded; those of the sample when there are none."""
        values = values or sample_inputs(self._sample, self.code)
        signature = self._get_input_signature()
        missing = [name for name, item in signature.items() if name not in values and "default" not in item]
        if missing:
            raise MissingRequiredInputError(
                f"Missing required inputs: {missing}", hint=f"inputs of {self._path.name}: {', '.join(signature)}"
            )
        return {name: self._image(values.get(name, item.get("default"))) for name, item in signature.items()}

    def _image(self, value: Any) -> Any:
        """An image for its JSON form or its text form ``data:image/png;path:picture.png``."""
        match = _IMAGE_TEXT.match(value) if isinstance(value, str) else None
        if match is not None:
            value = {f"data:{match[1]};{match[2]}": match[3]}
        return create_image(value, self.code) if is_image_dict(value) else value

    def _get_input_signature(self) -> dict[str, Any]:
        if self._inputs:
            return self._inputs
        values = sample_inputs(self._sample, self.code)
        return {name: {"type": ValueType.from_value(value).value} for name, value in values.items()}

    def _get_output_signature(self, include_primitive_output: bool = False) -> dict[str, Any]:
        return self._outputs or ({"output": {"type": "string"}} if include_primitive_output else {})

    def definition(self) -> PromptyFlow:
        """The prompty as a flow, for runs and tools that list flows."""
        outputs = self._get_output_signature(include_primitive_output=True)
        return PromptyFlow(
            name=self._name,
            folder=self.code,
            file=self._path,
            inputs={name: port(name, item) for name, item in self._get_input_signature().items()},
            outputs={name: FlowOutput(name, port(name, item).type, None) for name, item in outputs.items()},
            display_name=self._data.get("display_name"),
            description=self._data.get("description"),
            sample_inputs=self._sample if isinstance(self._sample, dict) else None,
            warnings=tuple(self.warnings),
        )


class AsyncPrompty(Prompty):
    """A prompty to await."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As `Prompty`; a stream comes as an async iterator."""
        _only_keywords(args, "called")
        return await self.ask(self._resolve_inputs(kwargs), kwargs.get("timeout"))


def workspace_connection(name: str) -> _Connection:
    """The connection of this name in the default workspace or the environment."""
    return get_connection(name, Workspace.open())


def _only_keywords(args: tuple[Any, ...], verb: str) -> None:
    if args:
        raise UserErrorException(f"Prompty can only be {verb} with keyword arguments.")


def _first_choice(route: str) -> Any:
    text_of = completion_text if route == COMPLETION else chat_text

    def text(chunk: ApiObject) -> str | None:
        if not chunk.choices or chunk.choices[0].get("index"):
            return None
        return text_of(chunk) or None

    return text


class PromptyExecutor:
    """A prompty run line by line, with the interface of every executor."""

    prefers_async = True
    has_aggregation = False
    origin: Origin | None = None

    def __init__(self, prompty: Prompty, environment: Mapping[str, str] | None = None) -> None:
        self.prompty = prompty
        self.flow = prompty.definition()
        self.environment = dict(environment or {})

    @classmethod
    def load(
        cls,
        file: str | PathLike[str],
        *,
        workspace: Workspace | None = None,
        connections: ConnectionLookup | None = None,
        init: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> PromptyExecutor:
        """Load a .prompty; ``init`` is what `Prompty.load` takes (``model`` …)."""
        lookup = connections or (lambda name: get_connection(name, workspace or Workspace.open()))
        path = Path(file).resolve()
        with activated(path.parent, environment):
            return cls(Prompty.load(path, **{"connections": lookup, **(init or {})}), environment)

    def activated(self) -> AbstractContextManager[None]:
        return activated(self.flow.folder, self.environment)

    def apply_inputs(self, row: Mapping[str, Any], index: int | None = None) -> dict[str, Any]:
        """The prompty's inputs from a row, with defaults and types; the sample for an empty row."""
        row = row or sample_inputs(self.prompty._sample, self.flow.folder)
        return self.prompty._resolve_inputs(apply_inputs(self.flow.inputs, row, index))

    def run_line(
        self,
        inputs: Mapping[str, Any],
        *,
        index: int | None = None,
        run_id: str | None = None,
        streaming: bool = False,
        node_concurrency: int | None = None,
        attempt: Attempt = FIRST_ATTEMPT,
    ) -> LineResult:
        """Run one line. Failures are in the result. ``streaming`` leaves a stream for the caller to read."""
        result = background.run(self.run_line_async(inputs, index=index, run_id=run_id, streaming=streaming))
        if isinstance(result.output, TextStream):
            result.output = result.output.generator()
        return result

    async def run_line_async(
        self,
        inputs: Mapping[str, Any],
        *,
        index: int | None = None,
        run_id: str | None = None,
        streaming: bool = False,
        node_concurrency: int | None = None,
        attempt: Attempt = FIRST_ATTEMPT,
    ) -> LineResult:
        """As `run_line`, on the running event loop."""
        line, start = Line(inputs=inputs, run_id=run_id or str(uuid.uuid4()), index=index), now()
        with self._context(line), self.prompty.span(inputs, "Flow") as at:
            try:
                line.inputs = self.apply_inputs(inputs, index)
                output = await self.prompty.answer(line.inputs)
                if isinstance(output, TextStream) and not streaming:
                    output = "".join([text async for text in output])
                elif isinstance(output, ChunkStream):
                    output = [chunk async for chunk in output]
            except Exception as error:
                failure = _as_ours(error, self.flow.name)
                at.record_error(failure)
                record = error_to_dict(failure, include_debug_info=True)
                return LineResult(
                    {}, {}, flow_info(self.flow, line, start, Status.Failed, None, record, at), {}, failure
                )
            shown = None if isinstance(output, TextStream) else output
            at.set_output(shown)
            info = flow_info(self.flow, line, start, Status.Completed, output_dict(_plain(shown)), None, at)
            return LineResult(output, {}, info, {})

    def run_aggregation(
        self, inputs: Mapping[str, Any], aggregation_inputs: Mapping[str, Any], run_id: str | None = None
    ) -> AggregationResult:
        """A prompty has nothing to aggregate."""
        return AggregationResult({}, {}, {})

    def _context(self, line: Line) -> AbstractContextManager[None]:
        run = line.run_id if line.index is not None else None
        return run_context(run=run, line_number=line.index, line_run_id=line.line_run_id, execution_target="prompty")


def _plain(value: Any) -> Any:
    if isinstance(value, ApiObject):
        return value.model_dump()
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _as_ours(error: Exception, name: str) -> PromptflowException:
    if isinstance(error, PromptflowException):
        return error
    failure = UnexpectedError(f"Unexpected error while {name} ran: ({type(error).__name__}) {error}", error=error)
    failure.__cause__ = error
    return failure
