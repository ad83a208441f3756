"""`pf model serve` as people run it: a process, asked over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from catalog.measured import measured
from promptflow.cli.main import main
from promptflow.exceptions import ValidationException
from promptflow.workspace import Workspace
from serve.cli.model_serve import _memory
from tests.serve.openai.serving import until


@contextmanager
def served(*arguments: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    argv = [sys.executable, "-m", "promptflow.cli.main", "model", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(argv, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"http://\S+/v1", line)
        assert found, line + process.stderr.read()
        yield found[0], process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_several_models_behind_one_port_for_the_real_client(home: Path) -> None:
    openai = pytest.importorskip("openai")
    pytest.importorskip("onnxruntime")
    ask: Any = [{"role": "user", "content": "I want my money back"}]
    arguments = ("builtin/intent-mini", "fake/echo", "--max-models", "1", "--api-key", "sk-of-the-test")
    with served(*arguments) as (url, _), openai.OpenAI(base_url=url, api_key="sk-of-the-test") as client:
        assert [card.id for card in client.models.list()] == ["builtin/intent-mini", "fake/echo"]
        for model in ("intent-mini", "fake/echo", "builtin/intent-mini"):
            assert client.chat.completions.create(model=model, messages=ask).choices[0].message.content
        request = urllib.request.Request(url.replace("/v1", "/metrics"), headers={"api-key": "sk-of-the-test"})
        with urllib.request.urlopen(request) as answer:
            assert b"pf_model_loads 3\n" in answer.read()


@pytest.fixture
def mine(home: Path) -> str:
    """The name of a registered model."""
    pytest.importorskip("onnxruntime")
    folder = Path(__file__).parents[2] / "serve/engines/builtin/intent-mini"
    assert main(["model", "create", "--name", "mine", "--path", str(folder)]) == 0
    return "mine"


def test_any_registered_model_is_found_by_name(mine: str) -> None:
    openai = pytest.importorskip("openai")
    with served("--any", PF_SERVE_API_KEY="sk-in-environment") as (url, _):
        with openai.OpenAI(base_url=url, api_key="sk-in-environment", max_retries=0) as client:
            asked: Any = {"messages": [{"role": "user", "content": "where is my parcel"}], "model": "mine:1"}
            assert {"mine", "builtin/intent-mini", "builtin/words"} <= {one.id for one in client.models.list()}
            assert client.chat.completions.create(**asked).choices[0].message.content
            assert [one.id for one in client.models.list()][:2] == ["mine:1", "builtin/intent-mini"]
            with pytest.raises(openai.NotFoundError):
                client.chat.completions.create(**{**asked, "model": str(Path(__file__).parent)})


def test_what_is_served_is_not_deleted_until_the_server_ends_however_that_is(mine: str, capsys: Any) -> None:
    with served(mine) as (_, process):
        assert main(["model", "delete", "-n", mine, "-y"]) == 1
        assert f"model mine:1 is used by process {process.pid}." in capsys.readouterr().err
    with pytest.raises(AssertionError), served(mine) as (_, process):
        process.kill()
        process.wait()
    assert main(["model", "delete", "-n", mine, "-y"]) == 0


def test_a_load_is_kept_beside_its_fit(mine: str, capsys: Any) -> None:
    with served(mine):
        until(lambda: measured(Workspace.open(), "mine:1"))
    capsys.readouterr()
    assert main(["catalog", "fit", mine, "-o", "json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    (load,) = told["measured"]
    assert (told["model"], load["engine"]) == ("mine:1", "onnx")
    assert 0 < load["weights"] <= load["peak"]


def test_a_built_in_model_needs_no_database(home: Path) -> None:
    pytest.importorskip("onnxruntime")
    with served("builtin/intent-mini"):
        pass
    assert list(home.rglob("*.sqlite")) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Name a model to serve"),
        (["absent"], "There is no model absent"),
        (["fake/echo", "--memory", "much"], "'much' is no amount of memory"),
        (["fake/echo", "--host", "203.0.113.1", "--no-api-key"], "Cannot listen on 203.0.113.1"),
        (["fake/echo", "--port", "99999999"], "Cannot listen on"),
        (["fake/echo", "--api-key-file", "/absent.yaml"], "cannot be read"),
        (["builtin/intent-mini", "--memory", "1kB"], "1.0 kB may be used"),
        (["builtin/intent-mini", "--adapter", "x=absent"], "There is no model absent"),
        (["builtin/intent-mini", "--engine", "banana"], "There is no engine 'banana'"),
    ],
)
def test_what_cannot_be_served_is_one_line(home: Path, capsys: Any, arguments: list[str], told: str) -> None:
    assert main(["model", "serve", *arguments]) == 1
    assert told in capsys.readouterr().err


def test_amounts_of_memory() -> None:
    assert [_memory(text) for text in ("16GB", "1.5GiB", "2k", "0", "7")] == [
        16 * 10**9,
        3 * 2**29,
        2000,
        0,
        7,
    ]
    assert _memory(None) > 10**8
    for wrong in ("", "GB", "-1", "1XB", "inf", "nan"):
        with pytest.raises(ValidationException):
            _memory(wrong)
