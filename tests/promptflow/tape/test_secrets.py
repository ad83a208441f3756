"""What must not be on a tape, in any spelling."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from promptflow.client import PFClient
from promptflow.connections import AzureOpenAIConnection, CustomConnection
from promptflow.connections.provider import get_connection
from promptflow.llm import calls as model
from promptflow.tape import record, replay
from promptflow.tape.request import Request, clean_url
from promptflow.tape.scrub import MASK, Scrubber
from promptflow.workspace import Workspace
from tests.fake_model import ModelServer, Reply
from tests.promptflow.tape.conftest import calls

httpx = pytest.importorskip("httpx")
SECRET = 'p/ss "w\\rd" mit ü'


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"before {SECRET} after",
        json.dumps({"inside": SECRET}),
        json.dumps({"inside": SECRET}, ensure_ascii=False),
        f"https://example.com/?q={quote(SECRET, safe='')}",
        f"Basic {b64encode(SECRET.encode()).decode()}",
    ],
)
def test_a_secret_goes_in_any_spelling(text: str) -> None:
    found = Scrubber([SECRET]).value({"a": [text], text: 1})
    assert "ss" not in json.dumps(found).replace("******", "") and MASK in json.dumps(found)


def test_short_secrets_go_only_where_a_value_is_exactly_that() -> None:
    scrubber = Scrubber(["test", ""])
    asked = {"password": "test", "text": "a test"}
    assert scrubber.value(asked, exact=True) == {"password": MASK, "text": "a test"}
    assert scrubber.value(asked) == asked


def test_a_secret_that_a_model_says_in_pieces_goes_too() -> None:
    said = ["the key is abc", "defgh", "ijk", ", is it not?"]
    events: list[dict[str, Any]] = [{"choices": [{"delta": {"content": piece}}]} for piece in said]
    found = Scrubber(["abcdefghijk"]).events([*events, {"done": True}])
    assert "".join(e["choices"][0]["delta"]["content"] for e in found[:-1]) == f"the key is {MASK}, is it not?"
    assert found[-1] == {"done": True}


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://me:pw@example.com/a?b=2&a=1#f", "https://example.com/a?a=1&b=2"),
        ("https://example.com/?api_key=x&q=y", "https://example.com/?api_key=******&q=y"),
        ("https://x.azure.com/a?api-version=1&sig=abc", "https://x.azure.com/a?api-version=1&sig=******"),
        ("https://example.com", "https://example.com/"),
    ],
)
def test_urls_are_kept_without_secrets(url: str, clean: str) -> None:
    assert clean_url(url) == clean


def test_forms_and_uploads_are_read() -> None:
    form = Request.of("POST", "https://e.com/", "user=me&password=x", "application/x-www-form-urlencoded")
    assert form.body == {"form": [["user", "me"], ["password", MASK]]}
    keys = set()
    for boundary in ("first", "second"):
        body = f"--{boundary}\r\n\r\nx\r\n--{boundary}--"
        keys.add(Request.of("POST", "https://e.com/", body, f"multipart/form-data; boundary={boundary}").key)
    assert len(keys) == 1


def test_keys_of_headers_variables_and_urls_go(
    model_server: ModelServer, tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SERVICE_TOKEN", "token-of-a-service")
    secrets = ["token-of-a-service", "key-in-a-header", "key-in-a-url"]
    body = {"prompt": " ".join(secrets)}  # the server says it again
    url = f"{model_server.base_url}/completions?access_token=key-in-a-url"
    with record(tape):
        answer = httpx.post(url, json=body, headers={"x-api-key": "key-in-a-header"})
    assert all(secret in answer.text for secret in secrets)
    assert not any(secret in tape.read_text() for secret in secrets)
    assert calls(tape)[0]["answer"]["json"]["choices"][0]["text"] == "****** ****** ****** …"
    monkeypatch.delenv("SOME_SERVICE_TOKEN")
    with replay(tape):  # a masked secret stands for any other
        again = httpx.post(url, json={"prompt": "one two three"}, headers={"x-api-key": "another"})
    assert again.json()["choices"][0]["text"] == "****** ****** ****** …"


def test_a_connection_has_a_stand_in_without_its_secrets(home: Path, tape: Path) -> None:
    workspace = Workspace.open(home)
    store = PFClient(workspace=workspace).connections
    store.create_or_update(
        CustomConnection(
            {"key": "a-secret-of-mine"},
            {"url": "https://e.com/?k=a-secret-of-mine", "access_token": "in-the-open"},
            name="own",
        )
    )
    store.create_or_update(
        AzureOpenAIConnection("https://a.com", api_version="2030-01-01", auth_mode="meid_token", name="azure")
    )
    with record(tape):
        get_connection("own", workspace)
        get_connection("azure", workspace)
    assert "a-secret-of-mine" not in tape.read_text() and "in-the-open" not in tape.read_text()
    for name in ("own", "azure"):
        store.delete(name)
    with replay(tape):
        own: Any = get_connection("own", workspace)
        azure: Any = get_connection("azure", workspace)
    assert (own.key, own.url) == (MASK, f"https://e.com/?k={MASK}")
    assert (azure.api_version, azure.get_token()) == ("2030-01-01", MASK)


def test_a_server_that_repeats_the_key_in_an_error(model_server: ModelServer, tape: Path) -> None:
    key = "sk-a-key-of-many-letters"
    model_server.script(Reply.error(400, f"key {key} is bad"))
    connection = AzureOpenAIConnection(model_server.url, key)
    with record(tape), pytest.raises(Exception, match="is bad"):
        asyncio.run(model.ask(connection, model.CHAT, "m", {"messages": []}))
    assert key not in tape.read_text()
