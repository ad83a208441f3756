"""``@trace`` on functions of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from promptflow.connections import OpenAIConnection
from promptflow.tracing import ThreadPoolExecutorWithContext, trace
from promptflow.tracing._trace import TraceType, _traced, enrich_prompt_template
from promptflow.tracing.spans import Span, capture, span


@trace
def double(a: int, b: int = 2) -> int:
    return a * b


@trace
async def slowly(a: int) -> int:
    return double(a)


@trace
def letters(text: str) -> Generator[str, None, None]:
    for letter in text:
        yield letter.upper() if double(1) else ""


@trace
async def letters_async(text: str) -> AsyncIterator[str]:
    for letter in text:
        yield letter


class Greeter:
    @trace
    def greet(self, name: str) -> str:
        return f"hello {name}"

    @trace(name="parting")
    def part(self) -> None:
        raise ValueError("never")


def test_a_call_is_a_span() -> None:
    with capture() as spans:
        assert double(3) == 6
    (s,) = spans
    assert (s.name, s.kind, s.attributes["function"]) == ("double", "Function", "double")
    assert (s.attributes["inputs"], s.attributes["output"], s.status) == ('{"a":3}', "6", "Ok")
    assert double.__name__ == "double"


def test_an_async_call_and_what_it_calls() -> None:
    with capture() as spans:
        assert asyncio.run(slowly(2)) == 4
    inner, outer = spans
    assert (outer.name, inner.parent_id) == ("slowly", outer.span_id)


def test_a_generator_keeps_its_span_until_its_end() -> None:
    with capture() as spans:
        stream = letters("ab")
        assert spans == []
        assert list(stream) == ["A", "B"]
    calls, (whole,) = spans[:-1], spans[-1:]
    assert {s.parent_id for s in calls} == {whole.span_id}
    assert (whole.attributes["output"], whole.attributes["output_type"]) == ('["A","B"]', "iterated")


def test_a_generator_that_is_dropped_early_has_what_was_read() -> None:
    with capture() as spans:
        stream = letters("abc")
        next(stream)
        stream.close()
    assert spans[-1].attributes["output"] == '["A"]'


def test_an_async_generator() -> None:
    async def read() -> list[str]:
        return [letter async for letter in letters_async("ab")]

    with capture() as spans:
        assert asyncio.run(read()) == ["a", "b"]
    assert spans[-1].attributes["output"] == '["a","b"]'


def test_a_failing_generator_ends_its_span_with_the_error() -> None:
    @trace
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("cut")

    with capture() as spans, pytest.raises(ValueError, match="cut"):
        list(broken())
    assert (spans[0].status, spans[0].message) == ("Error", "ValueError: cut")


def test_methods_leave_out_self_and_may_be_named() -> None:
    with capture() as spans:
        Greeter().greet("x")
        with pytest.raises(ValueError):
            Greeter().part()
    assert (spans[0].name, spans[0].attributes["inputs"]) == ("Greeter.greet", '{"name":"x"}')
    assert (spans[1].name, spans[1].attributes["function"]) == ("parting", "Greeter.part")


def test_a_connection_is_shown_by_its_class() -> None:
    @trace
    def use(connection: OpenAIConnection) -> None: ...

    with capture() as spans:
        use(OpenAIConnection("hidden"))
    assert spans[0].attributes["inputs"] == '{"connection":"OpenAIConnection"}'


@pytest.mark.parametrize("pool_class, nested", [(ThreadPoolExecutorWithContext, True), (ThreadPoolExecutor, False)])
def test_a_pool_that_carries_the_context(pool_class: type[ThreadPoolExecutor], nested: bool) -> None:
    with capture() as spans, span("root") as root:
        with pool_class(2) as pool:
            assert list(pool.map(double, [1, 2])) == [2, 4]
    assert sum(s.parent_id == root.span_id for s in spans) == (2 if nested else 0)


def test_nothing_is_done_when_tracing_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PF_DISABLE_TRACING", "true")
    made: list[Span] = []
    monkeypatch.setattr("promptflow.tracing.decorate.Span", lambda *args: made.append(Span(*args)))
    assert double(2) == 4 and made == []


def test_the_private_spelling_takes_a_kind() -> None:
    @_traced(trace_type=TraceType.RETRIEVAL, args_to_ignore=["key"])
    def find(query: str, key: str) -> str:
        enrich_prompt_template("Hi {{query}}", {"query": query})
        return query

    with capture() as spans:
        find("q", key="k")
    (s,) = spans
    assert (s.kind, s.attributes["inputs"], s.attributes["prompt.template"]) == (
        "Retrieval",
        '{"query":"q"}',
        "Hi {{query}}",
    )
    assert s.events[0]["name"] == "promptflow.prompt.template"
