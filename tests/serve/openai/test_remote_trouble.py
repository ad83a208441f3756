"""What the real client sees of a server behind ours that says no, breaks off or hears that it left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from serve.engines.base import Piece
from serve.engines.remote import RemoteEngine
from tests.serve.engines.remote_server import HALT, HEAD, delta, event, raw_server, refused, streamed
from tests.serve.openai.serving import Scripted, app_of, running, said, until

openai = pytest.importorskip("openai")

KEY = "sk-nobody-may-see-this"
ASK: dict[str, Any] = {"model": "far", "messages": [{"role": "user", "content": "x"}]}


@contextmanager
def before(url: str) -> Iterator[Any]:
    """The client of a server of ours that has the model ``far`` from ``url``."""
    app = app_of(RemoteEngine("far", url, KEY))
    with running(app) as address, openai.OpenAI(base_url=address, api_key="x", max_retries=0, timeout=20) as client:
        yield client
        until(lambda: app.activity.running == 0)


def engine_loads(client: Any) -> None:
    """Its server lists no models, which is no error; and refuses the first request, which is."""
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**ASK)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "BadRequestError"), (404, "NotFoundError"), (422, "UnprocessableEntityError"), (429, "RateLimitError"),
        (500, "InternalServerError"), (503, "InternalServerError"),
    ],
)  # fmt: skip
def test_refusals_keep_their_status_and_words(status: int, kind: str, stream: bool) -> None:
    body = b'{"error": {"message": "not today, %s", "code": "why", "param": "seed"}}' % KEY.encode()
    with raw_server(refused(404, b"{}"), keep=True) as server, before(server.url) as client:
        engine_loads(client)
        server.script = [refused(status, body, "Retry-After: 7")]
        with pytest.raises(getattr(openai, kind), match="not today") as error:
            client.chat.completions.create(**ASK, stream=stream)
    assert KEY not in str(error.value)
    if status in (429, 503):
        assert error.value.response.headers["retry-after"] == "7"
    if status in (400, 422):
        assert (error.value.code, error.value.param) == ("why", "seed")


def test_a_wrong_key_of_ours_is_no_secret_and_not_the_clients_fault() -> None:
    body = b'{"error": {"message": "Incorrect API key provided: %s", "code": "invalid_api_key"}}' % KEY.encode()
    with raw_server(refused(401, body)) as server, before(server.url) as client:
        with pytest.raises(openai.AuthenticationError, match="the key that this server has for it") as error:
            client.chat.completions.create(**ASK)
    assert KEY not in str(error.value) and error.value.code == "upstream_key_refused"


def test_a_stream_that_breaks_off_ends_with_an_error_and_others_go_on() -> None:
    with raw_server(refused(404, b"{}")) as server, before(server.url) as client:
        engine_loads(client)
        server.script = [HEAD, event(delta("half"))]
        heard = []
        with pytest.raises(openai.APIError, match="broke off"):
            for chunk in client.chat.completions.create(**ASK, stream=True):
                heard.append(chunk.choices[0].delta.content)
        assert heard == ["", "half"]
        server.script = [streamed(delta("well"), delta("", "stop"))]
        assert client.chat.completions.create(**ASK).choices[0].message.content == "well"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_is_heard_two_servers_away(stream: bool) -> None:
    engine = Scripted([Piece("a", 1, 1), 60, *said("b")], model="far")
    with running(app_of(engine)) as url, before(url) as client:
        if stream:
            answer = client.chat.completions.create(**ASK, stream=True)
            next(iter(answer))
            answer.close()
        else:
            with pytest.raises(openai.APITimeoutError):
                client.chat.completions.create(**ASK, timeout=0.5)
        until(lambda: engine.closed == 1 and engine.inside == 0)


def test_an_engine_that_dies_two_servers_away_is_told() -> None:
    engine = Scripted([Piece("a", 1, 1), ZeroDivisionError("oh")], model="far")
    with running(app_of(engine)) as url, before(url) as client:
        with pytest.raises(openai.APIError, match="The engine failed: ZeroDivisionError: oh"):
            list(client.chat.completions.create(**ASK, stream=True))


def test_a_server_that_is_not_there_is_a_bad_gateway_until_it_is() -> None:
    with raw_server(HALT) as server:
        url = server.url
    with before(url) as client, pytest.raises(openai.InternalServerError, match="cannot be reached") as error:
        client.chat.completions.create(**ASK)
    assert error.value.status_code == 502
