"""A flow as a Runnable: invoke, batch, stream and their async forms, in chains with others."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cached_property
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig

from promptflow.client import load_flow
from promptflow.exceptions import UserErrorException
from promptflow.executor.callable import AsyncFlow


class FlowRunnable(Runnable[Any, Any]):
    """``FlowRunnable("path/to/flow") | parser``. Takes the flow's inputs as a dictionary, or the value of its only one.

    Gives the outputs as a dictionary, or the one called ``output``.
    """

    def __init__(
        self, flow: str | os.PathLike[str], *, output: str | None = None, name: str | None = None, **kwargs: Any
    ) -> None:
        self._source = flow
        self._output = output
        self._options = kwargs
        self.name = name or os.path.basename(os.path.normpath(flow))

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return self._call_with_config(self._run, input, config, run_type="chain", **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        return await self._acall_with_config(self._run_async, input, config, run_type="chain", **kwargs)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        def pieces(inputs: Iterator[Any]) -> Iterator[Any]:
            for one in inputs:
                yield from self._pieces(one)

        yield from self._transform_stream_with_config(iter([input]), pieces, config, run_type="chain", **kwargs)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        async def given() -> AsyncIterator[Any]:
            yield input

        async def pieces(inputs: AsyncIterator[Any]) -> AsyncIterator[Any]:
            async for one in inputs:
                async for piece in self._pieces_async(one):
                    yield piece

        async for piece in self._atransform_stream_with_config(given(), pieces, config, run_type="chain", **kwargs):
            yield piece

    @cached_property
    def _flow(self) -> Any:
        return load_flow(self._source, **self._options)

    @cached_property
    def _streaming(self) -> Any:
        return load_flow(self._source, **{**self._options, "streaming": True})

    @cached_property
    def _async_flow(self) -> Any:
        return AsyncFlow.load(self._source, **{**self._options, "streaming": False})

    @cached_property
    def _async_streaming(self) -> Any:
        return AsyncFlow.load(self._source, **{**self._options, "streaming": True})

    def _run(self, input: Any) -> Any:
        return self._chosen(_call(self._flow, self._inputs(input)))

    async def _run_async(self, input: Any) -> Any:
        return self._chosen(await _call_async(self._async_flow, self._inputs(input)))

    def _pieces(self, input: Any) -> Iterator[Any]:
        result = self._chosen(_call(self._streaming, self._inputs(input)))
        name, stream, rest = _split(result)
        if rest:
            yield rest
        for piece in stream:
            yield piece if name is None else {name: piece}

    async def _pieces_async(self, input: Any) -> AsyncIterator[Any]:
        result = self._chosen(await _call_async(self._async_streaming, self._inputs(input)))
        name, stream, rest = _split(result)
        if rest:
            yield rest
        if hasattr(stream, "__aiter__"):
            async for piece in stream:
                yield piece if name is None else {name: piece}
        else:
            for piece in stream:
                yield piece if name is None else {name: piece}

    def _inputs(self, input: Any) -> dict[str, Any]:
        if isinstance(input, Mapping):
            return dict(input)
        names = _input_names(self._flow)
        if len(names) != 1:
            raise UserErrorException(
                f"Flow '{self.name}' has {len(names)} inputs, and was given one {type(input).__name__}.",
                hint=f"give a dictionary: {', '.join(names)}",
            )
        return {names[0]: input}

    def _chosen(self, result: Any) -> Any:
        if self._output is None:
            return result
        if not isinstance(result, Mapping) or self._output not in result:
            known = ", ".join(result) if isinstance(result, Mapping) else "none by name"
            raise UserErrorException(f"Flow '{self.name}' has no output '{self._output}'; it has {known}.")
        return result[self._output]


def _call(flow: Any, inputs: dict[str, Any]) -> Any:
    return flow.invoke(inputs).output if hasattr(flow, "invoke") else flow(**inputs)


async def _call_async(flow: Any, inputs: dict[str, Any]) -> Any:
    return (await flow.invoke(inputs)).output if hasattr(flow, "invoke") else await flow(**inputs)


def _input_names(flow: Any) -> list[str]:
    if hasattr(flow, "inputs"):
        return list(flow.inputs)
    return list(flow._get_input_signature())


def _split(result: Any) -> tuple[str | None, Any, Any]:
    """The output that streams: its name (None: the result itself), its pieces, and the outputs that do not stream."""
    if isinstance(result, Mapping):
        for name, value in result.items():
            if _is_stream(value):
                return name, value, {key: other for key, other in result.items() if key != name}
    if _is_stream(result):
        return None, result, None
    return None, iter([result]), None


def _is_stream(value: Any) -> bool:
    return hasattr(value, "__next__") or hasattr(value, "__anext__")
