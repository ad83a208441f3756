"""The torch engine on tiny real models, against what transformers itself makes of the same prompts."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from promptflow.exceptions import ValidationException
from serve.engines import open_engine
from serve.engines.base import Engine, EngineClosedError, EngineFailedError, PromptTooLongError, Request, Sampling
from tests.serve.engines.asking import ask, ask_all, pieces, plain, text_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PROMPTS = [
    "The quick brown fox",
    "A function call",
    "you are " * 60,
    "0 1 2 3",
    "Invoices, refunds and parcels: a customer asks",
    "def add(a, b):",
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"enum": ["Paris", "Rome"]}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "now"}},
]


def reference(folder: Path, prompts: list[str], tokens: int) -> list[str]:
    """What ``generate`` says, one prompt at a time."""
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    answers = []
    for prompt in prompts:
        given = tokenizer(prompt, return_tensors="pt")
        out = model.generate(**given, max_new_tokens=tokens, do_sample=False, pad_token_id=0)
        # A character that the last token leaves incomplete is not said.
        answers.append(
            tokenizer.decode(out[0][given["input_ids"].shape[1] :], skip_special_tokens=True).rstrip("\ufffd")
        )
    return answers


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_rows_that_run_together_say_what_each_would_say_alone(name: str, models: Path) -> None:
    engine = open_engine(name, folder=models / name, device="cpu", dtype="float32")
    engine.load()
    said = ask_all(engine, [plain(prompt, max_tokens=24) for prompt in PROMPTS])
    engine.unload()
    assert [answer.rstrip("\ufffd") for answer in said] == reference(models / name, PROMPTS, 24)


def test_a_seed_says_the_same_again_whoever_runs_beside(llama: Engine) -> None:
    request = plain("The quick", max_tokens=20, temperature=1.0, seed=7)
    alone = text_of(ask(llama, request))
    others = [plain(prompt, max_tokens=30, temperature=1.0) for prompt in PROMPTS]
    assert ask_all(llama, [others[0], request, *others[1:]])[1] == alone
    assert text_of(ask(llama, plain("The quick", max_tokens=20, temperature=1.0, seed=8))) != alone


def test_logprobs_are_those_of_the_model(llama: Engine, models: Path) -> None:
    said = ask(llama, plain("The quick", max_tokens=1, logprobs=3))
    model = transformers.AutoModelForCausalLM.from_pretrained(models / "llama", dtype="float32")
    tokenizer = transformers.AutoTokenizer.from_pretrained(models / "llama")
    with torch.no_grad():
        logits = model(**tokenizer("The quick", return_tensors="pt")).logits[0, -1]
    best = logits.log_softmax(-1).topk(3)
    (entry,) = said[-1].logprobs
    assert [value for _, value in entry.top] == pytest.approx(best.values.tolist(), abs=1e-4)
    assert [name for name, _ in entry.top] == [tokenizer.decode([token]) for token in best.indices]
    assert entry.logprob == pytest.approx(best.values[0].item(), abs=1e-4)


def test_stop_strings_biases_and_penalties(llama: Engine) -> None:
    whole = text_of(ask(llama, plain("The quick", max_tokens=12)))
    stop = whole[4:6]
    stopped = ask(llama, plain("The quick", max_tokens=12, stop=(stop,)))
    assert text_of(stopped) == whole[: whole.index(stop)] and stopped[-1].finish == "stop"
    forced = ask(llama, plain("The quick", max_tokens=3, logit_bias={65: 1000.0}))
    assert len(set(text_of(forced))) == 1
    varied = ask(llama, plain("The quick", max_tokens=20, logit_bias={65: 1000.0}, presence_penalty=2000.0))
    assert len(set(text_of(varied))) > 2


def test_json_and_schemas_are_kept_to(llama: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["city", "days"],
        "additionalProperties": False,
    }
    requests = [plain("x", max_tokens=90, temperature=1.0, seed=seed, json_schema=schema) for seed in range(8)]
    for answer in ask_all(llama, requests):
        value = json.loads(answer)
        assert value["city"] in ("Paris", "Rome") and 1 <= value["days"] <= 9
    assert text_of(ask(llama, plain("x", max_tokens=5, json=True))).lstrip().startswith("{")


def test_a_schema_that_leads_nowhere_is_told_in_a_line(llama: Engine) -> None:
    with pytest.raises(ValidationException, match="cannot be followed to its end: [^\n]*$"):
        ask(llama, plain("x", json_schema={"$ref": "#"}, max_tokens=4))


def test_a_schema_that_is_none_is_refused(llama: Engine) -> None:
    with pytest.raises(ValidationException, match="cannot be followed"):
        ask(llama, plain("x", json_schema={"type": "strange"}))
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "strange"}}}
    with pytest.raises(ValidationException, match=r"cannot be followed: Invalid type: strange$"):
        ask(llama, Request([{"role": "user", "content": "x"}], tools=[tool], tool_choice="required"))


@pytest.mark.parametrize("choice", ["required", "weather"])
def test_a_tool_call_can_be_forced(llama: Engine, choice: str) -> None:
    messages = [{"role": "user", "content": "How is the weather?"}]
    request = Request(messages, tools=TOOLS, tool_choice=choice, sampling=Sampling(max_tokens=200))
    said = ask(llama, request)
    calls = [call for piece in said for call in piece.tool_calls]
    assert calls and said[-1].finish in ("tool_calls", "length") and not text_of(said).strip()
    assert all(json.loads(call.arguments) is not None and call.name in ("weather", "now") for call in calls)
    assert choice == "required" or {call.name for call in calls} == {"weather"}


def test_prompts_that_do_not_fit_are_refused(llama: Engine) -> None:
    with pytest.raises(PromptTooLongError, match="reads fewer than 512"):
        ask(llama, plain("0 1 2 3 " * 200))
    with pytest.raises(ValidationException, match="token 100000"):
        ask(llama, Request(prompt=[1, 100000]))
    said = ask(llama, plain("0 1 " * 125, max_tokens=400))
    assert said[-1].prompt_tokens + said[-1].completion_tokens <= 512


def test_an_error_of_one_request_leaves_the_others_alone(llama: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from serve.engines.guide import Guide

    def broken(self: Guide, logits: Any) -> Any:
        raise RuntimeError("grammar lost")

    whole = text_of(ask(llama, plain("The quick", max_tokens=24)))
    monkeypatch.setattr(Guide, "allow", broken)

    async def both() -> list[Any]:
        requests = [plain("The quick", max_tokens=24), plain("The quick", max_tokens=24, json=True)]
        return await asyncio.gather(*(pieces(llama, one) for one in requests), return_exceptions=True)

    good, bad = asyncio.run(both())
    assert text_of(good) == whole
    assert isinstance(bad, RuntimeError) and "grammar lost" in str(bad)


def test_an_error_inside_a_pass_fails_its_requests_and_the_next_ones_run(
    llama: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = text_of(ask(llama, plain("The quick", max_tokens=8)))
    batcher = llama._runner  # type: ignore[attr-defined]
    model = batcher._manager.model
    forward = type(model).forward

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(type(model), "forward", broken)
    with pytest.raises(EngineFailedError, match="no memory"):
        ask(llama, plain("The quick", max_tokens=8))
    monkeypatch.setattr(type(model), "forward", forward)
    assert text_of(ask(llama, plain("The quick", max_tokens=8))) == whole


def test_a_caller_that_goes_away_frees_its_place(llama: Engine) -> None:
    async def first_piece() -> None:
        answer = llama.generate(plain("0 1 2 3", max_tokens=400, logit_bias={65: 1000.0}))
        await anext(answer)
        await answer.aclose()

    async def many() -> None:
        await asyncio.gather(*(first_piece() for _ in range(100)))

    asyncio.run(many())
    assert text_of(ask(llama, plain("The quick", max_tokens=4)))
    stats = llama.stats()
    assert (stats.running, stats.waiting) == (0, 0)


def test_callers_on_several_event_loops(llama: Engine) -> None:
    whole = text_of(ask(llama, plain("The quick", max_tokens=16)))
    said: list[str] = []
    threads = [
        threading.Thread(target=lambda: said.append(text_of(ask(llama, plain("The quick", max_tokens=16)))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [whole] * 4


def test_unloading_ends_what_is_in_the_works(models: Path) -> None:
    engine = open_engine("llama", folder=models / "llama", device="cpu", dtype="float32")
    engine.load()
    assert engine.stats().weights_bytes > 400_000 and engine.stats().cache_bytes > 0

    async def unloaded_midway() -> None:
        answer = engine.generate(plain("0 1 2 3", max_tokens=400, logit_bias={65: 1000.0}))
        await anext(answer)
        await asyncio.to_thread(engine.unload)
        async for _ in answer:
            pass

    with pytest.raises(EngineClosedError, match="was unloaded"):
        asyncio.run(unloaded_midway())
    with pytest.raises(EngineClosedError, match="not loaded"):
        ask(engine, plain("x"))
    assert engine.stats().weights_bytes == 0
    engine.load()
    assert text_of(ask(engine, plain("The quick", max_tokens=4)))
    engine.unload()


def test_stats_count_what_was_done(models: Path) -> None:
    engine = open_engine("llama", folder=models / "llama", device="cpu", dtype="float32")
    engine.load()
    said = ask(engine, plain("The quick", max_tokens=5))
    stats = engine.stats()
    engine.unload()
    assert (stats.finished, stats.failed) == (1, 0)
    assert (stats.prompt_tokens, stats.completion_tokens) == (said[-1].prompt_tokens, 5)
    assert (stats.device, stats.dtype) == ("cpu", "float32")


def test_weights_that_are_missing_are_an_error(models: Path, tmp_path: Path) -> None:
    for file in (models / "llama").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ValidationException, match="lack 9 tensors"):
        open_engine("llama", folder=tmp_path, device="cpu").load()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hidden_size": 10**9}, "493 words in 1000000000 numbers each; its weights have"),
        ({"vocab_size": 10**12}, "1000000000000 words"),
        ({"num_hidden_layers": 10**6}, "1000000 layers; its weights are 21 tensors"),
        ({"num_hidden_layers": -1}, "has -1 as its num_hidden_layers"),
        ({"num_attention_heads": 0}, "has 0 as its num_attention_heads"),
        ({"num_hidden_layers": "many"}, "cannot load the model"),
        ({"model_type": "no_such"}, "cannot load the model"),
    ],
)
def test_a_config_with_absurd_numbers_is_refused_at_once(
    models: Path, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    shutil.copytree(models / "llama", tmp_path / "m")
    config = tmp_path / "m" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(ValidationException, match=told):
        open_engine("m", "transformers", tmp_path / "m").load()


def test_scores_that_are_no_numbers_are_an_error_however_tokens_are_chosen(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "llama", tmp_path / "m")
    config = tmp_path / "m" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "rope_theta": float("nan")}))
    engine = open_engine("m", "transformers", tmp_path / "m", context=64)
    engine.load()
    try:
        for temperature in (0, 1):
            with pytest.raises(EngineFailedError, match="no numbers"):
                ask(engine, plain("The quick", temperature=temperature, max_tokens=4))
    finally:
        engine.unload()


def test_code_of_a_model_is_not_run(models: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Model"}})
    )
    (tmp_path / "own.py").write_text("raise SystemExit('run')")
    with pytest.raises(ValidationException, match="code of its own"):
        open_engine("own", folder=tmp_path).load()


def test_no_pickled_weights(models: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((models / "llama" / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(ValidationException, match="no model that can be run"):
        open_engine("old", folder=tmp_path)
