"""A flow folder as a Python callable."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from promptflow.contracts.run import LineResult
from promptflow.exceptions import MissingRequiredFlowInput, UserErrorException
from promptflow.executor.context import FlowContext
from promptflow.executor.loader import Executor, find_flow_file, load_executor, load_flow_definition
from promptflow.workspace import Workspace

if TYPE_CHECKING:
    from promptflow.executor.prompty import Prompty


class _LoadedFlow:
    """What Flow and AsyncFlow share. The flow is read when it is loaded, and again when its file or context change."""

    _prompty: ClassVar[str] = "Prompty"

    def __init__(
        self, file: Path, *, workspace: Workspace | None = None, streaming: bool = True, init: Any = None
    ) -> None:
        self._file = file.resolve()
        self._workspace = workspace
        self._streaming = streaming
        self._init = init
        self._executor: Executor | None = None
        self._key: Any = None
        self.context = FlowContext()

    @classmethod
    def load(cls, source: str | PathLike[str], **kwargs: Any) -> Self | Prompty:
        """Load a flow folder or file. A .prompty comes back as a Prompty. Raises a user error for a broken flow."""
        file = find_flow_file(Path(source))
        if file.suffix == ".prompty":
            from promptflow.executor import prompty  # with the path to models, which other flows may not need

            options = {key: value for key, value in kwargs.items() if key not in ("workspace", "streaming", "init")}
            loaded: Prompty = getattr(prompty, cls._prompty).load(file, **options)
            return loaded
        load_flow_definition(file)
        return cls(file, **{key: kwargs[key] for key in ("workspace", "streaming", "init") if key in kwargs})

    @property
    def path(self) -> Path:
        return self._file

    @property
    def code(self) -> Path:
        """The flow's folder."""
        return self._file.parent

    @property
    def name(self) -> str:
        return self.code.name

    @property
    def inputs(self) -> dict[str, Any]:
        """Inputs by name, each with ``type``, ``default``, ``has_default``."""
        return dict(self._loaded().flow.inputs)

    @property
    def outputs(self) -> dict[str, Any]:
        return dict(self._loaded().flow.outputs)

    def _loaded(self) -> Executor:
        # Comparing what the executor was made from is some microseconds; loading it is milliseconds.
        key = (os.stat(self._file).st_mtime_ns, repr(self.context))
        if self._executor is None or key != self._key:
            context = self.context
            self._executor = load_executor(
                self._file,
                variant=context.variant,
                connections=context.connections or None,
                overrides=context.overrides or None,
                environment_variables=context.environment_variables or None,
                init=self._init,
                workspace=self._workspace,
            )
            self._key = key
            folder = str(self._executor.flow.folder)
            if folder not in sys.path:
                sys.path.append(folder)  # for imports that tools make when they run
        return self._executor

    def _check_call(self, args: tuple[Any, ...]) -> None:
        if args:
            raise UserErrorException("Flow can only be called with keyword arguments.")
        if self._loaded().flow.kind == "flex":
            raise UserErrorException(
                "FlexFlow can not be called as a function.", hint="call flow.invoke({…}).output, or the entry itself"
            )

    def _streams(self) -> bool:
        return self._streaming if self.context.streaming is None else self.context.streaming

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code})"


class Flow(_LoadedFlow):
    """``flow = Flow.load("path/to/flow")``, then ``flow(question="Why?")`` gives its outputs by name.

    ``flow.context = FlowContext(variant=…, connections=…, overrides=…)`` changes how it is called.
    Several threads may call one flow at once.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for these inputs. Raises what the flow's code raises, as a ToolExecutionError."""
        self._check_call(args)
        return self.invoke(kwargs).output

    def invoke(self, inputs: Mapping[str, Any] | None = None, **kwargs: Any) -> LineResult:
        """As a call, with the records of the line and of its nodes beside the ``output``."""
        executor = self._loaded()
        values = dict(inputs or {})
        _check_inputs(executor, values)
        with _surroundings(executor):
            result = executor.run_line(values, streaming=self._streams())
        return _raised(result)


class AsyncFlow(_LoadedFlow):
    """As Flow, for async code: ``await flow(question="Why?")``."""

    _prompty = "AsyncPrompty"

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._check_call(args)
        return (await self.invoke(kwargs)).output

    async def invoke(self, inputs: Mapping[str, Any] | None = None, **kwargs: Any) -> LineResult:
        executor = self._loaded()
        values = dict(inputs or {})
        _check_inputs(executor, values)
        with _surroundings(executor):
            result = await executor.run_line_async(values, streaming=self._streams())
        return _raised(result)


def _check_inputs(executor: Executor, values: Mapping[str, Any]) -> None:
    if executor.flow.kind != "dag":
        return
    missing = [name for name, i in executor.flow.inputs.items() if i.default is None and name not in values]
    if missing:
        raise MissingRequiredFlowInput(f"Required input fields {missing} are missing in request data {dict(values)!r}")


def _surroundings(executor: Executor) -> AbstractContextManager[Any]:
    # Entering them changes the process: only for flows that set environment variables, not for all.
    return executor.activated() if executor.environment else nullcontext()


def _raised(result: LineResult) -> LineResult:
    if result.exception is not None:
        raise result.exception
    return result
