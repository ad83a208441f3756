"""LoRA adapters: each request with its own, all in one batch, with PEFT's numbers."""

from __future__ import annotations

import asyncio
import json
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from promptflow.exceptions import ValidationException
from serve.engines import open_engine
from serve.engines.base import AdapterNotFoundError, Engine, Request, UnsupportedError
from tests import tiny_models
from tests.serve.engines.asking import ask, ask_all, plain, text_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PROMPTS = [
    "The quick brown fox",
    "A function call",
    "you are " * 60,
    "0 1 2 3",
    "Invoices and refunds",
    "def add(a, b):",
]


def using(adapter: str, request: Request) -> Request:
    return replace(request, adapter=adapter)


def with_peft(base: Path, adapter: Path, prompts: list[str], tokens: int) -> tuple[list[str], Any]:
    """What PEFT says to each prompt, and the logits it makes of the first."""
    peft = pytest.importorskip("peft")
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers in an older way
        model = peft.PeftModel.from_pretrained(model, str(adapter))
    answers = []
    for prompt in prompts:
        given = tokenizer(prompt, return_tensors="pt")
        out = model.generate(**given, max_new_tokens=tokens, do_sample=False, pad_token_id=0)
        answers.append(
            tokenizer.decode(out[0][given["input_ids"].shape[1] :], skip_special_tokens=True).rstrip("\ufffd")
        )
    with torch.no_grad():
        logits = model(**tokenizer(prompts[0], return_tensors="pt")).logits[0, -1]
    return answers, logits


def test_adapters_in_one_batch_answer_as_peft_does(llama: Engine, models: Path) -> None:
    requests = [using(name, plain(prompt, max_tokens=16)) for prompt in PROMPTS for name in ("", "one", "two")]
    said = [answer.rstrip("\ufffd") for answer in ask_all(llama, requests)]
    base = [answer.rstrip("\ufffd") for answer in ask_all(llama, [plain(one, max_tokens=16) for one in PROMPTS])]
    assert said[0::3] == base
    for at, name in enumerate(("one", "two"), start=1):
        answers, logits = with_peft(models / "llama", models / name, PROMPTS, 16)
        assert said[at::3] == answers != base
        entry = ask(llama, using(name, plain(PROMPTS[0], max_tokens=1, logprobs=5)))[0].logprobs[0]
        expected = logits.log_softmax(-1).topk(5).values.tolist()
        assert [value for _, value in entry.top] == pytest.approx(expected, abs=1e-4)


def test_a_prompt_in_the_cache_is_not_taken_for_another_adapters(llama: Engine) -> None:
    long = "You are a helpful assistant. " * 20  # several pages of cache
    requests = [using(name, plain(long, max_tokens=12)) for name in ("", "one", "two")]
    together = ask_all(llama, requests)
    assert len(set(together)) == 3
    assert [text_of(ask(llama, request)) for request in requests + requests] == together + together


def test_rank_stabilised_and_patterned_alphas_scale_as_in_peft(models: Path, tmp_path: Path) -> None:
    folder = tiny_models.adapter(tmp_path / "scaled", models / "llama", seed=8)
    config = json.loads((folder / "adapter_config.json").read_text())
    config |= {"use_rslora": True, "alpha_pattern": {"q_proj": 1, "layers.1.mlp.down_proj": 3}}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    engine = open_engine("llama", folder=models / "llama", device="cpu", dtype="float32")
    engine.load()
    engine.load_adapter("scaled", folder)
    entry = ask(engine, using("scaled", plain(PROMPTS[0], max_tokens=1, logprobs=5)))[0].logprobs[0]
    engine.unload()
    _, logits = with_peft(models / "llama", folder, PROMPTS[:1], 1)
    assert [value for _, value in entry.top] == pytest.approx(logits.log_softmax(-1).topk(5).values.tolist(), abs=1e-4)


def test_an_adapter_that_is_not_there(llama: Engine) -> None:
    with pytest.raises(AdapterNotFoundError, match="has no adapter 'three'") as caught:
        ask(llama, using("three", plain("x")))
    assert "one, two" in caught.value.hint
    with pytest.raises(AdapterNotFoundError):
        llama.unload_adapter("three")


def test_an_adapter_is_replaced_and_goes_while_others_are_served(models: Path) -> None:
    engine = open_engine("llama", folder=models / "llama", device="cpu", dtype="float32")
    engine.load()
    engine.load_adapter("mine", models / "one")
    base = text_of(ask(engine, plain("The quick", max_tokens=12)))
    first = text_of(ask(engine, using("mine", plain("The quick", max_tokens=12))))

    async def replaced_midway() -> tuple[str, str]:
        answer = engine.generate(using("mine", plain("The quick", max_tokens=12)))
        said = (await anext(answer)).text
        loading = asyncio.create_task(asyncio.to_thread(engine.load_adapter, "mine", models / "two"))
        said += "".join([piece.text async for piece in answer])
        await loading
        return said, "".join(
            [piece.text async for piece in engine.generate(using("mine", plain("The quick", max_tokens=12)))]
        )

    before, after = asyncio.run(replaced_midway())
    assert before == first and after not in (first, base)
    engine.unload_adapter("mine")
    assert engine.adapters == ()
    assert text_of(ask(engine, plain("The quick", max_tokens=12))) == base
    assert not [name for name, module in engine._adapters._modules.items() if "forward" in vars(module)]  # type: ignore[attr-defined]
    engine.unload()


def test_unloading_waits_for_the_requests_that_use_it(models: Path) -> None:
    engine = open_engine("llama", folder=models / "llama", device="cpu", dtype="float32")
    engine.load()
    engine.load_adapter("mine", models / "one")
    request = using("mine", plain("The quick", max_tokens=200, logit_bias={65: 1000.0}))

    async def unloaded_midway() -> int:
        answer = engine.generate(request)
        count = (await anext(answer)).completion_tokens
        leaving = asyncio.create_task(asyncio.to_thread(engine.unload_adapter, "mine"))
        while "mine" in engine.adapters:
            await asyncio.sleep(0.001)
        with pytest.raises(AdapterNotFoundError):
            await anext(engine.generate(request))
        async for piece in answer:
            count = piece.completion_tokens
        await leaving
        return count

    assert asyncio.run(unloaded_midway()) == 200
    engine.unload()


def test_many_loads_and_unloads_of_one_adapter_at_once(models: Path) -> None:
    engine = open_engine("llama", folder=models / "llama", device="cpu", dtype="float32")
    engine.load()
    unexpected: list[BaseException] = []

    def work(number: int) -> None:
        for _ in range(5):
            try:
                engine.load_adapter("mine", models / ("one", "two")[number % 2])
                ask(engine, using("mine", plain("x", max_tokens=3)))
                engine.unload_adapter("mine")
            except AdapterNotFoundError:
                pass  # another thread was quicker
            except BaseException as error:
                unexpected.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not unexpected
    assert engine.stats().running == 0
    engine.unload()


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"use_dora": True}, UnsupportedError, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, UnsupportedError, "modules_to_save"),
        ({"peft_type": "PREFIX_TUNING"}, UnsupportedError, "only LORA"),
    ],
)
def test_adapters_that_cannot_be_run_say_why(
    llama: Engine, models: Path, tmp_path: Path, change: dict[str, Any], error: type[Exception], says: str
) -> None:
    folder = tiny_models.adapter(tmp_path / "odd", models / "llama")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(error, match=says):
        llama.load_adapter("odd", folder)


def test_adapters_of_other_models_and_broken_files_are_refused(llama: Engine, models: Path, tmp_path: Path) -> None:
    deeper = tiny_models.decoder(tmp_path / "deeper", layers=3)
    with pytest.raises(ValidationException, match="layers.2"):
        llama.load_adapter("odd", tiny_models.adapter(tmp_path / "other", deeper))
    folder = tiny_models.adapter(tmp_path / "cut", models / "llama")
    whole = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValidationException, match="cannot be read"):
        llama.load_adapter("odd", folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ValidationException, match="pickled|holds no adapter_model"):
        llama.load_adapter("odd", folder)
    with pytest.raises(ValidationException, match="no adapter_config.json"):
        llama.load_adapter("odd", tmp_path / "nowhere")
    assert llama.adapters == ("one", "two")
