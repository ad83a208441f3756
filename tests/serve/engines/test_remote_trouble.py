"""The remote engine and servers that misbehave, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from promptflow.exceptions import PromptflowException
from serve.engines.base import EngineClosedError, EngineFailedError, Piece, PromptTooLongError
from serve.engines.remote import RemoteEngine
from serve.engines.remote_errors import RemoteError
from tests.serve.engines.asking import ask, chat, pieces, plain, text_of
from tests.serve.engines.remote_server import (
    DONE,
    END,
    HALT,
    HEAD,
    RESET,
    USAGE,
    RawServer,
    delta,
    event,
    raw_server,
    refused,
    signed_by_itself,
    streamed,
    until,
)

KEY = "sk-nobody-may-see-this"
WHOLE = streamed(delta("one"), delta(" two"), delta("", "stop"), USAGE)


def engine_of(server: RawServer, **options: Any) -> RemoteEngine:
    return RemoteEngine("far", server.url, KEY, **options)


def test_an_answer_with_its_usage() -> None:
    with raw_server(WHOLE) as server:
        said = ask(engine_of(server, name="their-name"), chat("x", max_tokens=9))
    assert [piece.text for piece in said] == ["one", " two", ""]
    assert (said[-1].finish, said[-1].prompt_tokens, said[-1].completion_tokens) == ("stop", 7, 5)
    asked = server.asked[0]
    assert (asked.method, asked.path, asked.headers["authorization"]) == (
        "POST",
        "/v1/chat/completions",
        f"Bearer {KEY}",
    )
    assert asked.body["model"] == "their-name" and asked.body["stream_options"] == {"include_usage": True}


def test_bytes_may_come_one_by_one() -> None:
    """Chunks, events and characters of several bytes, all split across reads."""
    data = streamed(delta("fünf "), delta("漢字"), delta("!", "stop"), USAGE)
    with raw_server(*(data[at : at + 1] for at in range(len(data)))) as server:
        assert text_of(ask(engine_of(server), chat("x"))) == "fünf 漢字!"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ((HEAD, event(delta("half")), 0.01, RESET), "broke off"),
        ((HEAD, event(delta("half"))), "broke off"),  # closed in the middle of a chunked body
        ((HEAD, event(delta("half")), END), "stopped in the middle"),
        ((HEAD, event(delta("half")), DONE, END), "stopped in the middle"),
        ((HEAD, event(delta("half")), event(b"data: {never\n\n")), "cannot be read"),
        ((HEAD, event(delta("half")), event(b"data: [1, 2]\n\n")), "cannot be read"),
        ((HEAD, event(delta("half")), event({"choices": [{"delta": {"content": 5}}]})), "cannot be read"),
        ((HEAD, event(delta("half")), event({"choices": "abc"})), "cannot be read"),
        ((HEAD, event(delta("half")), event(b"data: \xff\xfe\n\n")), "cannot be read"),
        ((HEAD, event(delta("half")), event({"error": {"message": f"out of memory, {KEY}"}})), "out of memory"),
        ((HEAD, event(delta("half")), event(delta("", "abort")), DONE, END), "gave up"),
        ((HEAD, event(delta("half")), 0.1, b"ZZZ not a chunk\r\n", HALT), "broke off"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_an_answer_that_breaks_off_is_a_failure(script: tuple[Any, ...], told: str) -> None:
    with raw_server(*script) as server:
        engine = engine_of(server)
        heard: list[Piece] = []

        async def listen() -> None:
            async for piece in engine.generate(chat("x")):
                heard.append(piece)

        with pytest.raises(EngineFailedError, match=told) as failed:
            asyncio.run(listen())
    assert [piece.text for piece in heard] == ["half"] and not heard[0].finish
    assert KEY not in str(failed.value)
    assert (engine.stats().failed, engine.stats().running) == (1, 0)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ((b"SSH-2.0-OpenSSH_9\r\n",), "not HTTP"),
        ((b"",), "broke off"),
        ((RESET,), "broke off"),
        ((refused(200, b"<html>hello</html>"),), "cannot be read"),
        ((refused(200, b"{}"),), "stopped in the middle"),
        ((b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n{}",), "broke off"),
        ((b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 3\r\n\r\ndata: {}",), "stopped in|not HTTP"),
        ((b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: -3\r\n\r\n",), "not HTTP"),
        ((b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,), "not HTTP"),
    ],
    ids=[
        "another protocol", "closed", "reset", "a page", "nothing in it", "shorter than told", "longer than told",
        "a negative length", "an endless header",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_a_failure(script: tuple[Any, ...], told: str) -> None:
    with raw_server(*script) as server:
        with pytest.raises(EngineFailedError, match=told):
            ask(engine_of(server), chat("x"))


def test_an_event_without_end_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptflow.llm.sse.MAX_EVENT", 100_000)
    with raw_server(HEAD, *([event(b"data: " + b"x" * 50_000)] * 3), HALT) as server:
        with pytest.raises(EngineFailedError, match="more than 100000 bytes"):
            ask(engine_of(server), chat("x"))


def test_a_server_that_falls_silent_is_a_failure() -> None:
    with raw_server(HEAD, event(delta("half")), HALT) as server:
        with pytest.raises(EngineFailedError, match="does not answer"):
            ask(engine_of(server, timeout=0.2), chat("x"))
        until(lambda: server.open == 0)


def test_a_server_that_never_closes_after_its_answer_costs_half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.engines.remote.END_SECONDS", 0.01)
    with raw_server(HEAD, *(event(one) for one in (delta("all", "stop"), USAGE)), DONE, HALT) as server:
        assert text_of(ask(engine_of(server), chat("x"))) == "all"


def test_an_answer_whose_end_is_a_lie_is_whole_all_the_same() -> None:
    """[DONE] has come; that the connection then breaks is no longer of interest."""
    with raw_server(HEAD, *(event(one) for one in (delta("all", "stop"), USAGE)), DONE) as server:
        assert text_of(ask(engine_of(server), chat("x"))) == "all"


def test_a_server_that_does_not_stream_is_understood() -> None:
    body = b'{"choices": [{"message": {"content": "at once"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}'
    with raw_server(refused(200, body)) as server:
        said = ask(engine_of(server), chat("x"))
    assert text_of(said) == "at once" and (said[-1].prompt_tokens, said[-1].completion_tokens) == (3, 2)


def test_comments_and_other_fields_of_events_are_passed_over() -> None:
    odd = b': ping\r\n\r\nevent: message\r\nid: 7\r\ndata: {"choices": [{"delta": {"content": "a"}, "finish_reason": null}]}\r\n\r\n'
    with raw_server(HEAD, event(odd), event(delta("b", "stop")), END) as server:
        said = ask(engine_of(server), chat("x"))
    assert text_of(said) == "ab" and said[-1].completion_tokens == 2  # counted here: no usage was told


REFUSALS: list[tuple[int, bytes, type[Exception], int, str]] = [
    (400, b'{"error": {"message": "no such field", "param": "seed", "code": "bad"}}', RemoteError, 400, "^no such field"),
    (400, b'{"error": {"message": "This model\'s maximum context length is 10"}}', PromptTooLongError, 400, "is 10"),
    (400, b'{"error": {"message": "x", "code": "context_length_exceeded"}}', PromptTooLongError, 400, "x"),
    (400, b'{"object": "error", "message": "the prompt is too long", "code": 400}', PromptTooLongError, 400, "too long"),
    (401, f'{{"error": "who is {KEY}?"}}'.encode(), RemoteError, 401, r"did not take the key .* who is \*+\?"),
    (403, b"", RemoteError, 403, "did not take the key"),
    (404, b'{"detail": "Not Found"}', RemoteError, 404, "no such model, or no chat/completions"),
    (422, b'{"detail": [{"loc": ["body"], "msg": "bad"}]}', RemoteError, 422, "bad"),
    (429, b'{"error": {"message": "slow down"}}', RemoteError, 429, "slow down"),
    (500, b"oh \xff no", RemoteError, 502, r"failed \(500\): oh"),
    (502, b"", RemoteError, 502, "it gave no reason"),
    (503, b'{"error": "loading"}', RemoteError, 503, "loading"),
    (529, b"", RemoteError, 503, "529"),
    (301, b"", RemoteError, 502, "elsewhere"),
    (204, b"", RemoteError, 502, "204"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind", "told", "words"), REFUSALS, ids=lambda value: str(value)[:30])
def test_refusals_are_told_with_the_servers_words(
    status: int, body: bytes, kind: type[Exception], told: int, words: str
) -> None:
    with raw_server(refused(status, body, "Retry-After: 7", "Location: http://127.0.0.1:1/")) as server:
        with pytest.raises(kind, match=words) as error:
            ask(engine_of(server), chat("x"))
    assert isinstance(error.value, PromptflowException) and error.value.http_status == told
    assert KEY not in str(error.value) and len(server.asked) == 1
    if status in (429, 503):
        assert error.value.headers["retry-after"] == "7"  # type: ignore[attr-defined]


def test_a_refusal_as_the_first_event_keeps_its_status() -> None:
    fault = {"error": {"message": "maximum context length is 4", "code": 400}}
    with raw_server(streamed(fault)) as server, pytest.raises(PromptTooLongError):
        ask(engine_of(server), chat("x"))


def test_an_endless_reason_is_cut() -> None:
    with raw_server(refused(400, b"x" * 200_000)) as server, pytest.raises(RemoteError) as error:
        ask(engine_of(server), chat("x"))
    assert len(str(error.value)) == 2000


def test_a_redirect_does_not_take_the_key_along() -> None:
    with raw_server(WHOLE) as thief, raw_server(refused(307, b"", f"Location: {thief.url}/chat/completions")) as server:
        with pytest.raises(RemoteError, match="elsewhere"):
            ask(engine_of(server), chat("x"))
        assert thief.asked == []


def test_nobody_listens() -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        engine = RemoteEngine("far", f"http://127.0.0.1:{place.getsockname()[1]}")
        for attempt in (engine.load, lambda: ask(engine, chat("x")), lambda: asyncio.run(engine.embed(["x"]))):
            with pytest.raises(EngineFailedError, match="cannot be reached .Connection refused"):
                attempt()


def test_a_name_that_is_none() -> None:
    with pytest.raises(EngineFailedError, match="cannot be reached"):
        ask(RemoteEngine("far", "http://nowhere.invalid/v1"), chat("x"))


def test_tls_is_checked(tmp_path: Path) -> None:
    """The key is not given to a server that signed its certificate itself."""
    with raw_server(WHOLE, tls=signed_by_itself(tmp_path)) as server:
        with pytest.raises(EngineFailedError, match="certificate is not trusted"):
            ask(RemoteEngine("far", server.url.replace("http:", "https:"), KEY), chat("x"))
    assert server.asked == []


def test_connections_are_used_again() -> None:
    with raw_server(WHOLE, keep=True) as server:
        engine = engine_of(server)

        async def many() -> None:
            for _ in range(5):
                await pieces(engine, chat("x"))

        asyncio.run(many())
        assert (len(server.asked), server.connections) == (5, 1)
        until(lambda: server.open == 0)  # the pool ended with its loop


def test_a_connection_that_the_server_closed_meanwhile_is_no_error() -> None:
    """It says nothing of closing, and does so after each answer."""
    with raw_server(WHOLE) as server:
        engine = engine_of(server)

        async def many() -> list[str]:
            return [text_of(await pieces(engine, chat("x"))) for _ in range(50)]

        assert asyncio.run(many()) == ["one two"] * 50


def test_hanging_up_ends_the_request_over_there_at_once() -> None:
    with raw_server(HEAD, event(delta("half")), HALT) as server:
        engine = engine_of(server)

        async def leave() -> None:
            async with aclosing(engine.generate(chat("x"))) as answer:  # type: ignore[type-var]
                async for _ in answer:
                    break
            await asyncio.to_thread(until, lambda: server.open == 0)

        asyncio.run(leave())
        stats = engine.stats()
    assert (stats.running, stats.failed, stats.finished) == (0, 0, 0)


def test_a_thousand_that_hang_up_leave_nothing_behind() -> None:
    with raw_server(0.05, HEAD, event(delta("half")), HALT) as server:
        engine = engine_of(server)

        async def one(number: int) -> None:
            task = asyncio.create_task(pieces(engine, chat("x")))
            await asyncio.sleep(number % 10 / 50)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        async def all_of_them() -> None:
            for _ in range(10):
                await asyncio.gather(*(one(number) for number in range(100)))
            await asyncio.to_thread(until, lambda: server.open == 0)

        asyncio.run(all_of_them())
    assert engine.stats().running == 0


def test_unloading_ends_what_is_in_the_works() -> None:
    with raw_server(HEAD, event(delta("half")), HALT) as server:
        engine = engine_of(server)

        async def broken_off() -> None:
            async for _ in engine.generate(chat("x")):
                await asyncio.to_thread(engine.unload)

        with pytest.raises(EngineClosedError, match="not loaded"):
            asyncio.run(broken_off())
        with pytest.raises(EngineClosedError):
            ask(engine, chat("x"))


def test_unloading_from_another_thread_while_nothing_runs() -> None:
    with raw_server(WHOLE, keep=True) as server:
        engine = engine_of(server)
        ready, go = threading.Event(), threading.Event()

        async def work() -> None:
            await pieces(engine, chat("x"))
            ready.set()
            await asyncio.to_thread(go.wait, 20)

        thread = threading.Thread(target=lambda: asyncio.run(work()))
        thread.start()
        ready.wait(20)
        engine.unload()
        until(lambda: server.open == 0)
        go.set()
        thread.join()


def test_a_server_on_a_unix_socket(tmp_path: Path) -> None:
    place = str(tmp_path / "s")
    with raw_server(WHOLE, path=place) as server:
        engine = RemoteEngine("far", f"unix://{place}", KEY)
        assert text_of(ask(engine, plain("x"))) == "one two"
    assert server.asked[0].path == "/v1/completions" and str(engine.place) == f"unix://{place}"


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with raw_server(WHOLE) as server:
        assert text_of(ask(engine_of(server), chat("x"))) == "one two"


@pytest.mark.parametrize(
    ("listing", "context"),
    [
        (b'{"data": [{"id": "far", "max_model_len": 4096}]}', 4096),
        (b'{"data": [{"id": "other", "max_model_len": 4096}]}', 0),
        (b'{"data": [{"id": "far", "max_model_len": "much"}]}', 0),
        (b'{"data": 5}', 0),
        (b"[]", 0),
    ],
)
def test_loading_learns_the_context(listing: bytes, context: int) -> None:
    with raw_server(refused(200, listing)) as server:
        engine = engine_of(server)
        engine.load()
        assert engine.context == context
        assert engine_of(server, context=77).context == 77
    assert server.asked[0].path == "/v1/models"


def test_loading_fails_where_asking_would() -> None:
    with raw_server(refused(401, b"{}")) as server, pytest.raises(RemoteError, match="did not take the key"):
        engine_of(server).load()
    with raw_server(refused(404, b"{}")) as server:
        engine_of(server).load()  # not all servers list what they have


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b"[]", b"never", b'{"data": [], "results": []}',
        b'{"data": [{"index": 1, "embedding": [1]}], "results": [{"index": 1, "relevance_score": 1}]}',
        b'{"data": [{"index": 0, "embedding": []}], "results": [{"index": 0, "relevance_score": null}]}',
        b'{"data": [{"index": 0, "embedding": ["x"]}], "results": [{"index": 0, "relevance_score": "x"}]}',
        b'{"data": [{"index": 0, "embedding": "AAA"}], "results": [{"index": "0", "relevance_score": 1}]}',
        b'{"data": [{"index": 0, "embedding": "AACAfw=="}], "results": [{"index": 0}]}',
    ],
)  # fmt: skip
def test_vectors_and_scores_that_are_none(body: bytes) -> None:
    with raw_server(refused(200, body)) as server:
        engine = engine_of(server)
        for attempt in (engine.embed(["x"]), engine.rerank("q", ["x"])):
            with pytest.raises(EngineFailedError, match="cannot be read"):
                asyncio.run(attempt)


def test_vectors_and_scores_come_in_the_order_of_what_was_given() -> None:
    body = b"""{"data": [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": "AACAPwAAAEA="}],
        "results": [{"index": 1, "relevance_score": 9}, {"index": 0, "relevance_score": -1.5}],
        "usage": {"total_tokens": 4}}"""
    with raw_server(refused(200, body)) as server:
        engine = engine_of(server)
        vectors = asyncio.run(engine.embed(["a", [1, 2]]))
        scores = asyncio.run(engine.rerank("q", ["a", "b"]))
    assert (vectors.vectors, vectors.prompt_tokens) == ([[1.0, 2.0], [3.0, 4.0]], 4)
    assert (scores.scores, scores.prompt_tokens) == ([-1.5, 9.0], 4)
    assert server.asked[0].body["input"] == ["a", [1, 2]]
    assert server.asked[1].body["documents"] == ["a", "b"] and server.asked[1].path == "/v1/rerank"
