"""A Runnable as a plain function: an entry of a flex flow, or the tool of a node."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from langchain_core.runnables import Runnable

from promptflow.integrations.langchain.messages import as_text, input_names


def as_callable(
    runnable: Runnable[Any, Any],
    *,
    name: str | None = None,
    inputs: list[str] | None = None,
    stream: bool = False,
    is_async: bool = False,
) -> Callable[..., Any]:
    """A function whose keyword arguments are the Runnable's inputs and whose result is its result, messages as text.

    In a flex flow: ``answer = as_callable(prompt | model)`` and ``entry: my_module:answer``.
    As a node's tool: ``answer = tool(as_callable(prompt | model))``.
    ``inputs`` names the arguments where the Runnable does not say; with a single one that is not named in its
    schema, the value itself is given to the Runnable. ``stream`` makes it a generator.
    """
    known = input_names(runnable)
    names = inputs or known or ["input"]
    whole = known is None and len(names) == 1
    signature = inspect.Signature(
        [inspect.Parameter(one, inspect.Parameter.POSITIONAL_OR_KEYWORD) for one in names],
    )

    def given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        values = signature.bind(*args, **kwargs).arguments
        return values[names[0]] if whole else dict(values)

    def call(*args: Any, **kwargs: Any) -> Any:
        return as_text(runnable.invoke(given(args, kwargs)))

    async def call_async(*args: Any, **kwargs: Any) -> Any:
        return as_text(await runnable.ainvoke(given(args, kwargs)))

    def call_stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for chunk in runnable.stream(given(args, kwargs)):
            yield as_text(chunk)

    async def call_stream_async(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for chunk in runnable.astream(given(args, kwargs)):
            yield as_text(chunk)

    made: Callable[..., Any] = {
        (False, False): call,
        (False, True): call_async,
        (True, False): call_stream,
        (True, True): call_stream_async,
    }[stream, is_async]
    made.__name__ = made.__qualname__ = name or "runnable"
    # Of the caller's module: there the tool of a script file is looked for.
    made.__module__ = sys._getframe(1).f_globals.get("__name__", __name__)
    made.__doc__ = f"{runnable.get_name()} as a function."
    made.__signature__ = signature  # type: ignore[attr-defined]
    return made
