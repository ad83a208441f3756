"""The vllm engine over a real vLLM for processors, which our own `pf engine install` made.

It takes 3.5 GB and minutes, so it runs where the variable PF_TEST_VLLM names a folder: a virtual environment that has
vLLM, or one that keeps what `pf engine install vllm --cpu` makes (at the first time), for the next time.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from promptflow.cli.main import main
from promptflow.workspace import Workspace
from serve.engines import open_engine
from serve.engines.base import (
    AdapterNotFoundError,
    Engine,
    EngineFailedError,
    PromptTooLongError,
    Request,
    Sampling,
)
from serve.engines.vllm import VllmEngine
from serve.engines.vllm_flags import RANKS, Asked, Lora, start_for
from serve.installs import Installs
from tests.serve.engines.asking import ask, ask_all, chat, pieces, plain, text_of
from tests.serve.openai import test_client_table as table
from tests.serve.openai.serving import app_of, running

WHERE = os.environ.get("PF_TEST_VLLM", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not WHERE, reason="PF_TEST_VLLM names no folder with a vLLM, or for one"),
]

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["a", "b"]}, "sure": {"type": "boolean"}, "when": {"type": "string", "pattern": "^[0-9]{2}$"}},
    "required": ["kind", "sure", "when"],
    "additionalProperties": False,
}  # fmt: skip
TOOL = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
OWNER = """
import sys
from pathlib import Path
from serve.engines import open_engine

open_engine("llama", "vllm", Path(sys.argv[1])).load()
print("loaded", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def vllm_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace folder with a vLLM."""
    home, where = tmp_path_factory.mktemp("vllm-home"), Path(WHERE).expanduser()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PF_HOME_DIRECTORY", str(home))
        if (where / "bin" / "python").exists():
            assert main(["engine", "install", "vllm", "--environment", str(where)]) == 0
        else:
            where.mkdir(parents=True, exist_ok=True)
            (home / "engines").symlink_to(where)
            assert main(["engine", "install", "vllm", "--cpu"]) == 0
    yield home


@pytest.fixture(scope="module")
def engine(vllm_home: Path, models: Path) -> Iterator[VllmEngine]:
    opened = open_engine(
        "llama", "vllm", models / "llama", workspace=Workspace.open(vllm_home), lora_slots=2, lora_rank=8
    )
    assert isinstance(opened, VllmEngine)
    opened.load()
    yield opened
    opened.unload()


def test_all_our_flags_are_vllms(vllm_home: Path, models: Path) -> None:
    from tests.serve.engines.test_vllm_flags import H200

    python = Installs.of(Workspace.open(vllm_home)).list("vllm")[0].python
    words = [python, "-P", "-m", "vllm.entrypoints.openai.api_server", "--help=all"]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300).stdout
    start = start_for(models / "llama", "generate", True, H200, Asked(1, 1, sleep=True), Lora(1, 8))
    for name in (*start.flags, "model", "served_model_name", "uds", "enforce_eager", "runner"):
        assert f"--{name.replace('_', '-')}" in told, name
    assert "{1," + ",".join(map(str, RANKS)) + "}" in told


def test_it_answers_chats_prompts_and_tokens(engine: VllmEngine) -> None:
    said = ask(engine, chat("hi", max_tokens=12, temperature=0))
    assert said[-1].finish == "length" and said[-1].completion_tokens == 12 and said[-1].prompt_tokens > 10
    # How many tokens come in one piece depends on who is busy.
    assert text_of(ask(engine, chat("hi", max_tokens=12, temperature=0))) == text_of(said)
    assert len(said) > 1
    assert ask(engine, Request(prompt=[5, 6, 7], sampling=Sampling(max_tokens=3)))[-1].prompt_tokens == 3
    logprobs = [one for piece in ask(engine, plain("Hello", max_tokens=3, logprobs=2)) for one in piece.logprobs]
    assert len(logprobs) == 3 and all(len(one.top) >= 2 and one.logprob < 0 for one in logprobs)
    seeded = [text_of(ask(engine, plain("Hello", max_tokens=8, temperature=1.5, seed=7))) for _ in range(2)]
    assert seeded[0] == seeded[1]
    assert engine.context == 512
    assert text_of(ask(engine, plain("Hello", max_tokens=10_000, temperature=0)))
    with pytest.raises(PromptTooLongError):
        ask(engine, plain("word " * 3000))


def test_it_keeps_to_schemas(engine: VllmEngine) -> None:
    for value in (
        ask(engine, chat("hi", max_tokens=80, json_schema=SCHEMA)),
        ask(engine, chat("x", max_tokens=80, json_schema=SCHEMA)),
    ):
        told = json.loads(text_of(value))
        assert {*told} == {"kind", "sure", "when"} and told["kind"] in ("a", "b") and len(told["when"]) == 2
    # Of random weights a text in it may never end.
    assert text_of(ask(engine, chat("hi", max_tokens=40, json=True, temperature=0))).startswith("{")


@pytest.mark.parametrize("choice", ["look", "required"])
def test_a_forced_call_is_one(engine: VllmEngine, choice: str) -> None:
    # Blanks between the parts of a call are free there: a model of random weights may say nothing else for long.
    request = Request(messages=[{"role": "user", "content": "hi"}], tools=[TOOL], tool_choice=choice, sampling=Sampling(max_tokens=200, temperature=0))  # fmt: skip
    last = ask(engine, request)[-1]
    assert last.tool_calls[0].name == "look"
    if last.finish == "tool_calls":
        assert json.loads(last.tool_calls[0].arguments)["kind"] in ("a", "b")


def test_adapters_come_and_go_under_traffic(engine: VllmEngine, models: Path) -> None:
    base = text_of(ask(engine, plain("Hello", max_tokens=12, temperature=0)))
    engine.load_adapter("one", models / "one")
    engine.load_adapter("two", models / "two")
    wanted = {
        name: text_of(
            ask(engine, Request(prompt="Hello", adapter=name, sampling=Sampling(max_tokens=12, temperature=0)))
        )
        for name in ("", "one", "two")
    }
    assert wanted[""] == base and len({*wanted.values()}) == 3
    requests = [
        Request(prompt="Hello", adapter=name, sampling=Sampling(max_tokens=12, temperature=0))
        for name in ("", "one", "two") * 8
    ]
    assert ask_all(engine, requests) == [wanted[request.adapter] for request in requests]

    async def work() -> list[Any]:
        busy = [
            asyncio.create_task(
                pieces(engine, Request(prompt="Hello", adapter="one", sampling=Sampling(max_tokens=300)))
            )
            for _ in range(4)
        ]
        await asyncio.sleep(0.2)
        await asyncio.to_thread(engine.load_adapter, "one", models / "two")
        changed = text_of(
            await pieces(
                engine, Request(prompt="Hello", adapter="one", sampling=Sampling(max_tokens=12, temperature=0))
            )
        )
        assert changed == wanted["two"]
        await asyncio.to_thread(engine.unload_adapter, "one")
        with pytest.raises(AdapterNotFoundError):
            await pieces(engine, Request(prompt="Hello", adapter="one"))
        return [said[-1].finish for said in await asyncio.gather(*busy)]

    assert set(asyncio.run(work())) <= {"stop", "length"}
    assert engine.adapters == ("two",)


def test_its_answers_are_those_of_the_torch_engine(engine: VllmEngine, llama: Engine, models: Path) -> None:
    for name in ("one", "two"):
        engine.load_adapter(name, models / name)
    for adapter in ("", "one", "two"):
        request = Request(prompt="Hello", adapter=adapter, sampling=Sampling(max_tokens=10, temperature=0))
        assert text_of(ask(engine, request)) == text_of(ask(llama, request))


@pytest.fixture(scope="module")
def client(engine: VllmEngine) -> Iterator[Any]:
    openai = pytest.importorskip("openai")
    with running(app_of(Borrowed(engine))) as url:
        yield openai.OpenAI(base_url=url, api_key="x", max_retries=0)


@pytest.mark.parametrize("row", table.CHATS)
def test_the_openai_client_is_answered(client: Any, row: str) -> None:
    if row in ("tool by name", "tool required"):  # see above: whether the call comes to its end is left to chance
        answer = table.checked(client.chat.completions.create(**table.request_of(row, "llama")))
        assert answer.choices[0].message.tool_calls
    else:
        table.test_chat(client, "llama", row)
    table.test_chat_streamed(client, "llama", row)


def test_the_openai_client_is_refused_what_is_wrong(client: Any) -> None:
    openai = pytest.importorskip("openai")
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="llama", prompt="word " * 3000)
    assert refused.value.code == "context_length_exceeded"
    schema = {"type": "json_schema", "json_schema": {"name": "v", "schema": {"type": "nonsense"}}}
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="llama", messages=table.ASK, response_format=schema)


def test_it_counts_what_it_does(engine: VllmEngine) -> None:
    before = engine.stats()
    ask(engine, plain("Hello", max_tokens=7, temperature=0))
    until(lambda: engine.stats().completion_tokens >= before.completion_tokens + 7)
    stats = engine.stats()
    assert stats.finished > before.finished and stats.weights_bytes > 0 and stats.cache_bytes >= 1 << 30
    assert (stats.device, stats.dtype) == ("cpu", "float32")


@pytest.mark.parametrize("victim", ["api_server", "EngineCore"])
def test_killed_in_the_middle_of_an_answer_it_comes_back(vllm_home: Path, models: Path, victim: str) -> None:
    engine = open_engine("llama", "vllm", models / "llama", workspace=Workspace.open(vllm_home))
    engine.load()
    try:
        family = family_of(Workspace.open(vllm_home))
        (pid,) = [
            pid
            for pid, name in family.items()
            if victim in name and "python" in name or victim in name and "VLLM" in name
        ]

        async def work() -> None:
            killed = False
            async for piece in engine.generate(plain("Hello", max_tokens=400, temperature=0)):
                if piece.completion_tokens >= 5 and not killed:  # a piece may hold several tokens
                    os.kill(pid, signal.SIGKILL)
                    killed = True

        with pytest.raises(EngineFailedError):
            asyncio.run(work())
        assert text_of(ask(engine, plain("Hello", max_tokens=4)))  # who comes now waits for the next one
        until(lambda: not any(lives(one) for one in family), 60)
    finally:
        engine.unload()
    assert not family_of(Workspace.open(vllm_home), "llama")


def test_nothing_outlives_a_killed_owner(vllm_home: Path, models: Path) -> None:
    environ = {**os.environ, "PF_HOME_DIRECTORY": str(vllm_home)}
    words = [sys.executable, "-c", OWNER, str(models / "llama")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as child:
        assert child.stdout is not None and child.stdout.readline() == "loaded\n"
        family = family_of(Workspace.open(vllm_home))
        assert len(family) >= 3
        child.kill()
    until(lambda: not any(lives(pid) for pid in family), 60)


@pytest.mark.parametrize(("folder", "task"), [("bert", "embed"), ("ranker", "rerank")])
def test_encoders(vllm_home: Path, models: Path, folder: str, task: str) -> None:
    pytest.importorskip("transformers")
    engine = open_engine(folder, "vllm", models / folder, workspace=Workspace.open(vllm_home))
    ours = open_engine(folder, "transformers", models / folder, device="cpu")
    texts = ["the quick brown fox", "an agent answers", "lazy"]
    for one in (engine, ours):
        one.load()
    try:
        if task == "embed":
            found, wanted = (asyncio.run(one.embed(texts)).vectors for one in (engine, ours))
            close = [sum(a * b for a, b in zip(x, y, strict=True)) for x, y in zip(found, wanted, strict=True)]
            assert all(angle > 0.999 for angle in close)
        else:
            found, wanted = (asyncio.run(one.rerank("fox", texts)).scores for one in (engine, ours))
            assert sorted(range(3), key=found.__getitem__) == sorted(range(3), key=wanted.__getitem__)
    finally:
        engine.unload()
        ours.unload()


class Borrowed(VllmEngine):
    """The engine of all tests for one server, which must neither load nor unload it."""

    def __init__(self, engine: VllmEngine) -> None:
        self.__dict__ = engine.__dict__

    def load(self) -> None:
        pass

    def unload(self) -> None:
        pass


def family_of(workspace: Workspace, running: str = "") -> dict[int, str]:
    """The processes of the newest server, and what each is called."""
    every = [one for one in workspace.processes.list() if one.is_running and "engine" in one.details]
    if running:
        every = [one for one in every if one.details["model"] == running and one.name != "vllm-llama"]
    if not every:
        return {}
    newest = max(every, key=lambda one: one.created)
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[2]) == newest.pid:
                found[int(entry.parent.name)] = (entry.parent / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    found.pop(newest.pid, None)
    return found


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(true: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
