"""Requests through the gateway to instances on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections import Counter
from typing import Any

import aiohttp
import pytest

from serve.endpoints.spec import Collection
from serve.endpoints.tokens import issue
from tests.serve.gateway.stage import KEY, SIGNING, Echo, Stage, serving, stage


def test_a_request_and_its_answer_get_through() -> None:
    async def play() -> None:
        async with stage() as it:
            echo = Echo(headers=[(b"x-own", b"1"), (b"connection", b"keep-alive")])
            await it.instance("blue", echo)
            it.open({"blue": 100})
            status, body, headers = await it.ask("/endpoints/shop/score?a=1", b'{"x":1}', x_request_id="me-1")
            assert (status, body) == (200, b"blue")
            assert headers["x-request-id"] == "me-1" and headers["azureml-model-deployment"] == "blue"
            assert headers["x-own"] == "1"
            seen = echo.seen[0]
            assert (seen["path"], seen["method"], seen["body"]) == ("/score", "POST", b'{"x":1}')
            assert seen["headers"]["x-request-id"] == "me-1"
            assert "authorization" not in seen["headers"]

    asyncio.run(play())


def test_traffic_is_split_and_a_change_is_in_force_at_once() -> None:
    async def play() -> None:
        async with stage() as it:
            for name in ("blue", "green"):
                await it.instance(name, Echo(name))
            it.open({"blue": 90, "green": 10})
            assert await spread(it, 100) == {b"blue": 90, b"green": 10}
            it.open({"green": 100})
            assert await spread(it, 10) == {b"green": 10}

    asyncio.run(play())


def test_a_request_may_name_its_deployment_or_stick_to_one() -> None:
    async def play() -> None:
        async with stage() as it:
            for name in ("blue", "green"):
                await it.instance(name, Echo(name))
            it.open({"blue": 100, "green": 0}, properties={"pf.sticky_header": "X-User"})
            assert (await it.ask(azureml_model_deployment="green"))[1] == b"green"
            assert (await it.ask(azureml_model_deployment="../blue"))[0] == 404
            it.open({"blue": 50, "green": 50}, properties={"pf.sticky_header": "X-User"})
            assert len({(await it.ask(x_user="me"))[1] for _ in range(6)}) == 1
            assert {(await it.ask(x_pf_sticky=str(user)))[1] for user in range(20)} == {b"blue", b"green"}

    asyncio.run(play())


def test_only_keys_of_the_endpoint_open_it() -> None:
    async def play() -> None:
        async with stage() as it:
            echo = Echo()
            await it.instance("blue", echo)
            it.open({"blue": 100})
            for given in ("", "Bearer ", "Bearer wrong", "Basic first-key", "Bearer first-key2", "first-key"):
                status, body, _ = await it.ask(Authorization=given)
                assert (status, json.loads(body)["error"]["code"]) == (401, "Unauthorized")
                assert b"first-key" not in body
            assert (await it.ask(Authorization="Bearer second-key"))[0] == 200
            assert (await it.ask(Authorization="", api_key="first-key"))[0] == 200
            assert len(echo.seen) == 2

    asyncio.run(play())


def test_tokens_open_an_endpoint_until_they_expire() -> None:
    async def play() -> None:
        async with stage() as it:
            await it.instance("blue", Echo())
            it.open({"blue": 100}, auth_mode="aml_token")
            good, old = issue("shop", SIGNING).value, issue("shop", SIGNING, seconds=-1).value
            other, forged = issue("other", SIGNING).value, issue("shop", "another key").value
            given = [good, old, other, forged, "first-key", "a.b", ".", "ä"]
            found = [(await it.ask(Authorization=f"Bearer {token}"))[0] for token in given]
            assert found == [200, *[401] * 7]

    asyncio.run(play())


def test_each_key_has_its_limit_and_is_told_when_to_come_again() -> None:
    async def play() -> None:
        async with stage() as it:
            await it.instance("blue", Echo())
            it.open({"blue": 100}, properties={"pf.requests_per_minute": "3"})
            found = [(await it.ask())[0] for _ in range(4)]
            assert found == [200, 200, 200, 429]
            _, _, headers = await it.ask()
            assert int(headers["retry-after"]) > 0
            assert (await it.ask(Authorization="Bearer second-key"))[0] == 200

    asyncio.run(play())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/endpoints/none/score", 404),
        ("/endpoints/%2e%2e%2fshop/score", 404),
        ("/endpoints/sh%00op/score", 404),
        ("/endpoints/%FF/score", 404),
        ("/endpoints/shop%2fscore/x", 404),
        ("/endpoints/shop/../../etc/passwd", 200),  # the instance's business, and no file of ours
        ("/v2/models/shop/infer", 200),
        ("/v1/models/shop:predict", 200),
        ("/v2/models/none/infer", 404),
    ],
)
def test_names_are_looked_up_and_nothing_else(path: str, expected: int) -> None:
    async def play() -> None:
        async with stage() as it:
            await it.instance("blue", Echo())
            it.open({"blue": 100})
            answer = await it.raw(
                f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer first-key\r\ncontent-length: 0\r\n"
                "connection: close\r\n\r\n".encode()
            )
            assert answer.split()[1] == str(expected).encode()

    asyncio.run(play())


def test_openai_requests_name_the_endpoint_as_their_model() -> None:
    async def play() -> None:
        async with stage() as it:
            await it.instance("blue", Echo())
            it.open({"blue": 100})
            ask = {"/v1/chat/completions": b'{"model": "shop"}', "/v1/embeddings": b'{"model": "none"}'}
            found = [(await it.ask(path, body))[0] for path, body in ask.items()]
            assert found == [200, 404]
            for body in (b"", b"{", b'{"model": "shop",}'):
                status, answer, _ = await it.ask("/v1/completions", body)
                assert status == 400 and b"The body is no JSON: " in answer and b"line 1 column" in answer
            for body in (b"[]", b'{"model": 1}', b'{"model": ""}', b"null"):
                status, answer, _ = await it.ask("/v1/completions", body)
                assert status == 400 and b"The body names no model" in answer

    asyncio.run(play())


def test_without_traffic_or_instances_the_answer_is_503_and_says_when_to_come_again() -> None:
    async def play() -> None:
        async with stage() as it:
            lane = it.lane("blue")
            it.open({})
            assert (await it.ask())[0] == 503
            it.open({"blue": 100})
            status, _, headers = await it.ask()
            assert (status, int(headers["retry-after"]) > 0) == (503, True)
            assert lane.in_line == 0

    asyncio.run(play())


def test_a_request_waits_for_an_instance_that_is_coming() -> None:
    async def play() -> None:
        async with stage() as it:
            lane = it.lane("blue")
            lane.coming = True
            missed: list[int] = []
            lane.missed = lambda: missed.append(1)
            it.open({"blue": 100})
            asked = asyncio.create_task(it.ask())
            while not lane.in_line:
                await asyncio.sleep(0.005)
            await it.instance("blue", Echo())
            lane.serve_line()
            assert (await asked)[0] == 200
            assert missed

    asyncio.run(play())


def test_who_waits_longer_than_allowed_is_sent_away_and_the_line_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        async with stage() as it:
            lane = it.lane("blue", concurrency=1, queue_wait=0.1)
            echo = Echo(hold=asyncio.Event())
            await it.instance("blue", echo)
            it.open({"blue": 100})
            first = asyncio.create_task(it.ask())
            while not echo.seen:
                await asyncio.sleep(0.005)
            monkeypatch.setattr("serve.gateway.lane.LONGEST_LINE", 2)
            found = await asyncio.gather(*(it.ask() for _ in range(5)))
            assert [status for status, _, _ in found] == [429] * 5
            assert all(int(headers["retry-after"]) >= 1 for _, _, headers in found)
            assert echo.hold is not None
            echo.hold.set()
            assert (await first)[0] == 200
            assert (lane.in_flight, lane.in_line) == (0, 0)

    asyncio.run(play())


def test_a_request_that_takes_too_long_is_408_and_its_instance_drops_it() -> None:
    async def play() -> None:
        async with stage() as it:
            lane = it.lane("blue", timeout=0.1)
            echo = Echo(hold=asyncio.Event())
            instance = await it.instance("blue", echo)
            it.open({"blue": 100})
            assert (await it.ask())[0] == 408
            while not echo.gone:
                await asyncio.sleep(0.005)
            assert (lane.in_flight, instance.timeouts) == (0, 1)

    asyncio.run(play())


def test_when_the_client_hangs_up_the_instance_is_told() -> None:
    async def play() -> None:
        async with stage() as it:
            echo = Echo(hold=asyncio.Event())
            await it.instance("blue", echo)
            it.open({"blue": 100})
            asked = asyncio.create_task(it.ask())
            while not echo.seen:
                await asyncio.sleep(0.005)
            asked.cancel()
            while not echo.gone:
                await asyncio.sleep(0.005)
            while it.lanes["blue"].in_flight:
                await asyncio.sleep(0.005)
            assert it.gateway.figures.requests["shop", "blue", 499] == 1

    asyncio.run(play())


def test_what_the_model_got_wrong_is_424() -> None:
    async def play() -> None:
        async with stage() as it:
            failed = [
                (b"ms-azureml-model-error-statuscode", b"500"),
                (b"ms-azureml-model-error-reason", b"model_error"),
            ]
            await it.instance("blue", Echo(status=500, headers=failed))
            await it.instance("green", Echo(status=400))
            it.open({"blue": 100, "green": 0})
            status, _, headers = await it.ask()
            assert (status, headers["ms-azureml-model-error-reason"]) == (424, "model_error")
            assert (await it.ask(azureml_model_deployment="green"))[0] == 400

    asyncio.run(play())


def test_another_instance_answers_where_one_dies_over_a_request() -> None:
    async def play() -> None:
        async with stage() as it:
            lane = it.lane("blue")
            bad = await it.instance("blue", dies)
            await it.instance("blue", Echo())
            it.open({"blue": 100})
            doubts: list[int] = []
            bad.doubt = lambda: doubts.append(1)
            bad.socket += ".gone"
            assert (await it.ask())[:2] == (200, b"blue")
            assert doubts == [1]
            assert it.gateway.figures.retries["shop", "blue"] == 1
            assert lane.in_flight == 0

    asyncio.run(play())


def test_connections_of_an_instance_that_has_died_cost_no_more_than_one_attempt() -> None:
    async def play() -> None:
        async with stage() as it:
            path, writers = it.folder / "dies.sock", list[asyncio.StreamWriter]()

            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writers.append(writer)
                await reader.readuntil(b"{}")
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold")

            server = await asyncio.start_unix_server(answer, path)
            instance = await it.instance("blue", Echo("new"))
            good, instance.socket, instance.limit = instance.socket, str(path), 8
            it.open({"blue": 100})
            first = await asyncio.gather(*(it.ask() for _ in range(8)))
            assert {body for _, body, _ in first} == {b"old"}
            server.close()
            path.unlink()
            for writer in writers:
                writer.close()
            instance.doubt = lambda: (setattr(instance, "socket", good), setattr(instance, "ready", True))
            assert {body for _, body, _ in await asyncio.gather(*(it.ask() for _ in range(8)))} == {b"new"}

    asyncio.run(play())


def test_an_instance_that_lost_a_request_is_looked_at_before_it_gets_another() -> None:
    """One that is ending takes connections for a moment: whoever asked it again and again would run out of attempts."""

    async def play() -> None:
        async with stage() as it:
            path, asked = it.folder / "ends.sock", list[int]()

            async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"{}")
                asked.append(1)
                writer.close()

            server = await asyncio.start_unix_server(hang_up, path)
            instance = await it.instance("blue", Echo("new"))
            good, instance.socket = instance.socket, str(path)
            instance.doubt = lambda: setattr(instance, "socket", good)
            it.open({"blue": 100})
            assert (await it.ask())[:2] == (200, b"new")
            assert len(asked) == 1
            server.close()

    asyncio.run(play())


def test_an_answer_that_breaks_off_is_asked_for_again_or_never_taken_for_whole() -> None:
    async def play() -> None:
        async with stage() as it:
            path = it.folder / "breaks.sock"
            heads = [
                b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhal",
                b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole",
            ]
            heads += [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhal\r\n"]

            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(heads.pop(0))
                await writer.drain()
                writer.close()

            server = await asyncio.start_unix_server(answer, path)
            instance = await it.instance("blue", Echo())
            instance.socket = str(path)
            it.open({"blue": 100})
            assert (await it.ask())[:2] == (200, b"whole")
            with pytest.raises(Exception, match="(?i)payload|disconnect|transfer"):
                await it.ask()
            server.close()

    asyncio.run(play())


def test_answers_stream_as_they_come() -> None:
    async def play() -> None:
        async with stage() as it:
            more = asyncio.Event()

            async def stream(scope: Any, receive: Any, send: Any) -> None:
                await receive()
                kind = [(b"content-type", b"text/event-stream")]
                await send({"type": "http.response.start", "status": 200, "headers": kind})
                await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
                await more.wait()
                await send({"type": "http.response.body", "body": b"data: 2\n\n"})

            await it.instance("blue", stream)
            it.open({"blue": 100})
            url = f"http://127.0.0.1:{it.port}/endpoints/shop/score"
            async with it.session.post(url, headers=KEY) as answer:
                assert await answer.content.readany() == b"data: 1\n\n"
                more.set()
                assert await answer.content.read() == b"data: 2\n\n"

    asyncio.run(play())


@pytest.mark.parametrize("chunked", [False, True])
def test_large_bodies_go_through_both_ways(chunked: bool) -> None:
    async def play() -> None:
        async with stage() as it:

            async def mirror(scope: Any, receive: Any, send: Any) -> None:
                parts, more = [], True
                while more:
                    message = await receive()
                    parts.append(message.get("body", b""))
                    more = message.get("more_body", False)
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"".join(parts)})

            await it.instance("blue", mirror)
            it.open({"blue": 100})
            content = bytes(range(256)) * 20_000
            status, body, _ = await it.ask(data=pieces(content) if chunked else io.BytesIO(content))
            assert (status, body == content) == (200, True)

    asyncio.run(play())


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large_a_body_is_413(chunked: bool) -> None:
    async def play() -> None:
        async with stage(max_body=10_000) as it:
            echo = Echo()
            await it.instance("blue", echo)
            it.open({"blue": 100})
            head = b"POST /endpoints/shop/score HTTP/1.1\r\nhost: x\r\nauthorization: Bearer first-key\r\n"
            piece = b"x" * 11_000
            framed = (
                b"transfer-encoding: chunked\r\n\r\n2af8\r\n" + piece if chunked else b"content-length: 11000\r\n\r\n"
            )
            answer = await it.raw(head + framed)
            assert answer.split()[1] == b"413"
            assert not echo.seen

    asyncio.run(play())


def test_an_instance_that_answers_before_it_has_read_all_gets_the_next_request_on_another_connection() -> None:
    async def play() -> None:
        async with stage() as it:

            async def hasty(scope: Any, receive: Any, send: Any) -> None:
                await receive()
                await send({"type": "http.response.start", "status": 400, "headers": [(b"content-length", b"2")]})
                await send({"type": "http.response.body", "body": b"no"})

            instance = await it.instance("blue", hasty)
            it.open({"blue": 100})
            sent = asyncio.Event()

            async def slow() -> Any:
                yield b"x" * 2_000_000
                await asyncio.wait_for(sent.wait(), 5)
                yield b"x" * 2_000_000

            asked = asyncio.create_task(it.ask(data=slow()))
            while not it.gateway.figures.requests:
                await asyncio.sleep(0.01)
                sent.set()
            with contextlib.suppress(aiohttp.ClientError):
                assert (await asked)[:2] == (400, b"no")
            assert (await it.ask())[:2] == (400, b"no")
            assert instance.in_flight == 0

    asyncio.run(play())


def test_a_mirror_gets_copies_after_the_answer_and_its_failures_do_not_show() -> None:
    async def play() -> None:
        async with stage() as it:
            green = Echo("green", hold=asyncio.Event(), status=500)
            await it.instance("blue", Echo())
            await it.instance("green", green)
            it.open({"blue": 100}, {"green": 50})
            assert await spread(it, 4) == {b"blue": 4}
            assert green.hold is not None
            green.hold.set()
            while it.gateway.figures.mirrored["shop", "green", "failed"] < 2:
                await asyncio.sleep(0.005)
            assert len(green.seen) == 2

    asyncio.run(play())


def test_a_sample_is_captured() -> None:
    async def play() -> None:
        async with stage() as it:
            await it.instance("blue", Echo())
            capture = it.capture(
                "blue", collections={"request": Collection()}, sampling_rate=0.5, capture_headers=("X-User",)
            )
            it.open({"blue": 100})
            for number in range(4):
                await it.ask(data=b"%d" % number, x_user="me")
            lines = b"".join(capture.take().lines.values())
            taken = [json.loads(line) for line in lines.splitlines()]
            assert [one["data"] for one in taken] == [1, 3]
            assert taken[0]["headers"] == {"x-user": "me"}

    asyncio.run(play())


def test_what_only_ever_grows_is_a_counter_for_prometheus() -> None:
    async def play() -> None:
        async with stage() as it:
            await it.instance("blue", Echo())
            it.capture("blue", collections={"request": Collection()}).dropped = 3
            it.open({"blue": 100})
            await it.ask()
            text = it.gateway.figures.text(it.gateway.routes)
            assert 'pf_endpoint_captures_dropped_total{endpoint="shop",deployment="blue"} 3\n' in text
            kinds = dict(line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE"))
            assert {name for name, kind in kinds.items() if name.endswith("_total")} == {
                name for name, kind in kinds.items() if kind == "counter"
            }
            assert kinds["pf_endpoint_captures_dropped_total"] == "counter"

    asyncio.run(play())


def test_where_all_instances_fail_the_client_is_told_when_the_next_one_is_tried() -> None:
    async def play() -> None:
        async with stage() as it:
            it.lane("blue").pause = 60.0
            it.open({"blue": 100})
            status, _, headers = await it.ask()
            assert (status, int(headers["retry-after"]) >= 60) == (503, True)

    asyncio.run(play())


def test_an_instance_that_restarts_between_two_requests_is_not_noticed() -> None:
    async def play() -> None:
        async with stage() as it:
            instance = await it.instance("blue", Echo())
            path = it.folder / "again.sock"
            import socket

            for name in (b"one", b"two"):
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                path.unlink(missing_ok=True)
                listener.bind(str(path))
                instance.socket = str(path)
                async with serving(Echo(name.decode()), listener):
                    it.open({"blue": 100})
                    assert (await it.ask())[:2] == (200, name)

    asyncio.run(play())


async def dies(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError


async def pieces(content: bytes) -> Any:
    for at in range(0, len(content), 100_000):
        yield content[at : at + 100_000]


async def spread(it: Stage, requests: int) -> Counter[bytes]:
    return Counter([(await it.ask())[1] for _ in range(requests)])
