"""The vllm engine on a NVIDIA GPU: where PF_TEST_VLLM names a virtual environment with vLLM for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.machine import nvidia_gpus
from promptflow.cli.main import main
from promptflow.workspace import Workspace
from serve.engines import open_engine
from serve.engines.base import Request, Sampling
from serve.engines.vllm import VllmEngine
from serve.router import Budget, Router, Served
from tests.serve.engines.asking import ask, pieces, plain, text_of

WHERE = os.environ.get("PF_TEST_VLLM", "")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not WHERE, reason="PF_TEST_VLLM names no environment with a vLLM"),
]


@pytest.fixture(scope="module")
def vllm_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not nvidia_gpus():
        pytest.skip("no NVIDIA GPU")
    home = tmp_path_factory.mktemp("vllm-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PF_HOME_DIRECTORY", str(home))
        assert main(["engine", "install", "vllm", "--environment", WHERE]) == 0
    yield home


def opened(name: str, folder: Path, home: Path) -> VllmEngine:
    # A small share, so that two tiny models have room beside each other.
    engine = open_engine(name, "vllm", folder, workspace=Workspace.open(home), gpu_memory_utilization=0.2)
    assert isinstance(engine, VllmEngine)
    return engine


def test_adapters_change_the_answers_and_leave_the_bases(vllm_home: Path, models: Path) -> None:
    engine = opened("llama", models / "llama", vllm_home)
    engine.expect([models / "one", models / "two"])
    engine.load()
    try:
        base = text_of(ask(engine, plain("Hello", max_tokens=8, temperature=0)))
        for name in ("one", "two"):
            engine.load_adapter(name, models / name)
        sampling = Sampling(max_tokens=8, temperature=0)

        async def mixed() -> list[str]:
            asked = [
                pieces(engine, Request(prompt="Hello", adapter=name, sampling=sampling))
                for name in ("", "one", "two") * 8
            ]
            return [text_of(said) for said in await asyncio.gather(*asked)]

        said = asyncio.run(mixed())
        assert {*said[::3]} == {base} and base not in said[1::3] + said[2::3]
    finally:
        engine.unload()


def test_it_sleeps_and_wakes_as_it_was(vllm_home: Path, models: Path) -> None:
    engine = opened("llama", models / "llama", vllm_home)
    engine.load()
    try:
        before = text_of(ask(engine, plain("Hello", max_tokens=8, temperature=0)))
        free = nvidia_gpus()[0].free
        assert engine.sleep()
        assert nvidia_gpus()[0].free > free + (1 << 30)
        engine.wake()
        assert text_of(ask(engine, plain("Hello", max_tokens=8, temperature=0))) == before
    finally:
        engine.unload()


def test_two_models_take_turns_without_starting_again(vllm_home: Path, models: Path) -> None:
    async def work() -> list[int]:
        served = [
            Served(name, lambda name=name: opened(name, models / name, vllm_home), 1) for name in ("llama", "qwen3")
        ]  # type: ignore[misc]
        router = Router(served, Budget(models=1))
        found = []
        try:
            for name in ("llama", "qwen3", "llama", "qwen3"):
                async with router.use(name) as use:
                    assert text_of(await pieces(use.engine, plain("Hello", max_tokens=4)))
                process = Workspace.open(vllm_home).processes.get(f"vllm-{name}")
                assert process is not None
                found.append(process.pid)
        finally:
            await router.close()
        return found

    first, second, *again = asyncio.run(work())
    assert again == [first, second]
