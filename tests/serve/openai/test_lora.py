"""LoRA adapters that come and go over HTTP, while others ask."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from serve.engines import open_engine
from serve.openai.app import OpenAIApp
from serve.openai.keys import Key, Keys
from serve.router import Adapter, Router, Served
from tests import tiny_models
from tests.serve.openai.serving import Scripted, app_of, raw, running, said

pytest.importorskip("torch")
pytest.importorskip("transformers")
openai = pytest.importorskip("openai")

KEY = "sk-of-the-test"
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def adapters(models: Path) -> dict[str, Adapter]:
    folder = models.parent / f"{models.name}-lora"
    made = {name: folder / name for name in NAMES}
    return {
        name: Adapter(tiny_models.adapter(place, models / "llama", seed=20 + at))
        for at, (name, place) in enumerate(made.items())
    }


def app(models: Path, known: dict[str, Adapter], offered: dict[str, Adapter] | None = None, **options: Any) -> Any:
    make = partial(
        open_engine, "llama", "transformers", models / "llama", device="cpu", dtype="float32", context=64, **options
    )

    def find(base: str, name: str) -> tuple[str, Adapter] | None:
        return (name, known[name]) if name in known else None

    return OpenAIApp(
        Router([Served("llama", make, adapters=offered or {})], find_adapter=find), Keys([Key.of("k", KEY)])
    )


@pytest.fixture(scope="module")
def url(models: Path, adapters: dict[str, Adapter]) -> Iterator[str]:
    with running(app(models, adapters)) as address:
        yield address


def post(url: str, what: str, **body: Any) -> tuple[int, Any]:
    status, content, _ = raw(url, f"/v1/{what}", json.dumps(body).encode(), authorization=f"Bearer {KEY}")
    return status, content if status == 200 else json.loads(content)["error"]


def ask(url: str, model: str) -> str:
    asked = {"model": model, "prompt": "The quick brown fox", "max_tokens": 6, "temperature": 0, "seed": 1}
    status, answer = post(url, "completions", **asked)
    assert status == 200, answer
    return str(json.loads(answer)["choices"][0]["text"])


def test_an_adapter_is_loaded_under_a_name_and_unloaded(url: str) -> None:
    assert post(url, "load_lora_adapter", lora_name="mine", lora_path="a")[0] == 200
    said = {name: ask(url, name) for name in ("llama", "mine", "llama@a", "llama@b")}
    assert said["mine"] == said["llama@a"] and len({*said.values()}) == 3
    assert post(url, "load_lora_adapter", lora_name="mine", lora_path="b")[0] == 409
    assert post(url, "load_lora_adapter", lora_name="mine", lora_path="b", load_inplace=True)[0] == 200
    assert ask(url, "mine") == said["llama@b"]
    with openai.OpenAI(base_url=url, api_key=KEY) as client:
        assert "llama@mine" in {card.id for card in client.models.list()}
        assert post(url, "unload_lora_adapter", lora_name="mine")[0] == 200
        assert "llama@mine" not in {card.id for card in client.models.list()}
        with pytest.raises(openai.NotFoundError):
            client.completions.create(model="mine", prompt="x", max_tokens=1)
    assert post(url, "unload_lora_adapter", lora_name="mine")[0] == 404


def test_what_is_no_adapter_is_not_loaded(url: str, models: Path, adapters: dict[str, Adapter]) -> None:
    for path in ("absent", str(adapters["a"].folder), str(models / "llama"), "../a"):
        assert post(url, "load_lora_adapter", lora_name="x", lora_path=path)[0] == 404
    for body in ({"lora_name": "x"}, {"lora_path": "a"}, {"lora_name": "", "lora_path": "a"}, {"lora_name": 1}):
        assert post(url, "load_lora_adapter", **body)[0] == 400
    assert post(url, "load_lora_adapter", lora_name="x", lora_path="a", model="absent")[0] == 404
    assert raw(url, "/v1/load_lora_adapter", b"{}")[0] == 401


def test_without_keys_nobody_loads_adapters() -> None:
    with running(app_of(Scripted(said("x")))) as url:
        assert post(url, "load_lora_adapter", lora_name="x", lora_path="a")[0] == 403
        assert post(url, "unload_lora_adapter", lora_name="x")[0] == 403


def test_one_adapter_that_many_load_unload_and_ask_at_once(url: str) -> None:
    chance = random.Random(7)
    expected = {ask(url, "llama@a"), ask(url, "llama@b")}

    async def one(client: Any) -> None:
        deed = chance.choice(("load", "replace", "unload", "ask", "ask"))
        try:
            if deed == "ask":
                answer = await client.completions.create(
                    model="storm", prompt="The quick brown fox", max_tokens=6, temperature=0, seed=1
                )
                assert answer.choices[0].text in expected
            else:
                path, body = f"/{'unload' if deed == 'unload' else 'load'}_lora_adapter", {"lora_name": "storm"}
                if deed != "unload":
                    body |= {"lora_path": chance.choice("ab"), "load_inplace": deed == "replace"}
                await client.post(path, body=body, cast_to=str)
        except (openai.NotFoundError, openai.ConflictError):
            pass  # not there at this moment, or there already

    async def storm() -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=60) as client:
            await asyncio.gather(*(one(client) for _ in range(80)))

    asyncio.run(storm())
    post(url, "unload_lora_adapter", lora_name="storm")
    assert post(url, "load_lora_adapter", lora_name="storm", lora_path="a")[0] == 200
    assert ask(url, "storm") == ask(url, "llama@a")
    assert post(url, "unload_lora_adapter", lora_name="storm")[0] == 200


def test_adapters_take_turns_where_the_engine_holds_few(models: Path, adapters: dict[str, Adapter]) -> None:
    with running(app(models, {}, adapters, max_adapters=1)) as url:
        alone = {name: ask(url, name) for name in NAMES}

        async def all_at_once() -> list[str]:
            async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=60) as client:
                asked: Any = {"prompt": "The quick brown fox", "max_tokens": 6, "temperature": 0, "seed": 1}
                answers = await asyncio.gather(
                    *(client.completions.create(model=NAMES[at % 3], **asked) for at in range(12))
                )
                return [answer.choices[0].text for answer in answers]

        assert asyncio.run(all_at_once()) == [alone[NAMES[at % 3]] for at in range(12)]


def test_an_engine_without_adapters_says_so() -> None:
    with running(
        OpenAIApp(
            Router(
                [Served("scripted", lambda: Scripted(said("x")))],
                find_adapter=lambda base, name: (name, Adapter(Path("/a"))),
            ),
            Keys([Key.of("k", KEY)]),
        )
    ) as url:
        status, error = post(url, "load_lora_adapter", lora_name="x", lora_path="a")
        assert status == 400 and "takes no adapters" in error["message"]
