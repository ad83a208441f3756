"""``@trace``: a function whose calls are spans."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, overload

from promptflow.tracing.spans import Span, wanted
from promptflow.tracing.streams import settle

F = TypeVar("F", bound=Callable[..., Any])
Record = Callable[[Span, Any], None]
Hold = Callable[[Span, Any], Any]


@overload
def trace(func: F) -> F: ...
@overload
def trace(func: None = None, *, name: str | None = None) -> Callable[[F], F]: ...
def trace(func: Any = None, *, name: str | None = None) -> Any:
    """Make each call of a function a span: sync, async, generators and async generators.

    Its arguments, result and error are recorded. Connections and secrets are not.
    """
    if func is None:
        return functools.partial(traced, name=name)
    return traced(func, name=name)


def traced(
    func: Any,
    *,
    name: str | None = None,
    kind: str = "Function",
    ignore: Iterable[str] = (),
    record: Record | None = None,
    is_async: bool | None = None,
    hold: Hold | None = None,
) -> Any:
    """``func`` with a span around each call.

    ``ignore`` names arguments to leave out; ``record`` is called with the span and the result (of a stream: the list
    of its items). ``is_async`` says what the signature hides: a plain function that returns a coroutine.
    ``hold`` may take care of a streamed result itself: it returns what to hand out, or None.
    """
    function = qualified_name(func, kind)
    title = name or function
    parameters = _parameter_names(func)
    skipped = frozenset(ignore) | ({"self"} if parameters[:1] == ("self",) else set())
    attributes = {"function": function}

    def begin(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Span:
        inputs = {**dict(zip(parameters, args, strict=False)), **kwargs}
        for key in skipped:
            inputs.pop(key, None)
        return Span(title, kind, inputs, attributes)

    def conclude(span: Span, output: Any) -> Any:
        held = hold(span, output) if hold is not None else None
        if held is not None:
            return held
        result = settle(span, output, record)
        if record is not None and result is output:
            record(span, output)
        return result

    if is_async if is_async is not None else inspect.iscoroutinefunction(func):

        @functools.wraps(func)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            if not wanted():
                return await func(*args, **kwargs)
            with begin(args, kwargs) as span:
                return conclude(span, await func(*args, **kwargs))

        wrapper: Any = call_async
    else:

        @functools.wraps(func)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not wanted():
                return func(*args, **kwargs)
            with begin(args, kwargs) as span:
                return conclude(span, func(*args, **kwargs))

        wrapper = call
    setattr(wrapper, "__original_function", func)  # noqa: B010 (the name that tool loaders look for)
    return wrapper


def qualified_name(func: Any, kind: str = "Function") -> str:
    """The function as spans name it; calls to models carry their module too."""
    name = getattr(func, "__qualname__", None) or type(func).__qualname__
    module = getattr(func, "__module__", None)
    return f"{module}.{name}" if kind in ("LLM", "Embedding") and module else name


def _parameter_names(func: Any) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(func).parameters)
    except (TypeError, ValueError):  # builtins without a signature
        return ()
