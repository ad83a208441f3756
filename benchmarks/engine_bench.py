"""The torch engine against what it stands on: tokens per CPU second, all in one process and one run.

    python -m benchmarks.engine_bench [--model FOLDER] [--rows 16] [--tokens 64] [--repetitions 3]

References: transformers' `generate`, one request at a time, and its bare continuous-batching manager, which streams
token ids and has none of our text, stops, seeds and grammars. Needs promptflow[local]; no model: a small one with
random weights is made. CPU figures of other work on the machine are not counted, its cache misses are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
import transformers

from serve.engines import open_engine
from serve.engines.base import Engine, Request, Sampling
from tests import tiny_models

ONE_BY_ONE, BARE, OURS = "generate, one by one", "bare manager", "our engine"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
    "required": ["city", "days"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, help="a model folder; by default one with random weights is made")
    parser.add_argument("--hidden", type=int, default=256, help="the width of the model that is made")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=493)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print tokens per second of CPU time and of wall time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = arguments.model or made(
            Path(place) / "model", arguments.hidden, arguments.layers, arguments.vocabulary
        )
        rates = measure(folder, Path(place), arguments.rows, arguments.tokens, arguments.repetitions)
    if arguments.json:
        print(json.dumps(rates))
        return
    bare = rates[BARE][0]
    print(f"{folder}: {arguments.rows} rows of {arguments.tokens} tokens, {torch.get_num_threads()} threads")
    print(f"{'':40}{'tokens / CPU s':>16}{'tokens / s':>12}{'of bare':>10}")
    for name, (cpu, wall) in rates.items():
        print(f"{name:40}{cpu:16.0f}{wall:12.0f}{cpu / bare:10.2f}")


def measure(folder: Path, place: Path, rows: int, tokens: int, repetitions: int) -> dict[str, tuple[float, float]]:
    """Tokens per second of CPU time and of wall time, by case."""
    prompts = [f"{number} The quick brown fox jumps over the lazy dog and " for number in range(rows)]
    engine = open_engine("bench", folder=folder, dtype="float32")
    engine.load()
    names = ["one", "two", "three"]
    if not (folder / "adapter").exists() and (folder / "made").exists():
        for seed, name in enumerate(names):
            made_adapter(place / name, folder, seed)
            engine.load_adapter(name, place / name)
    plain = [Request(prompt=p, sampling=Sampling(max_tokens=tokens, temperature=0, logit_bias={})) for p in prompts]
    sampled = [replace(r, sampling=replace(r.sampling, temperature=1.0, top_p=0.9, seed=1)) for r in plain]
    guided = [replace(r, sampling=replace(r.sampling, temperature=1.0, json_schema=SCHEMA)) for r in plain]
    cases: dict[str, Callable[[], int]] = {
        ONE_BY_ONE: one_by_one(folder, prompts, tokens),
        OURS: lambda: asyncio.run(ask_all(engine, plain)),
        "our engine, one caller": lambda: asyncio.run(ask_one_by_one(engine, plain)),
        "our engine, sampled with top_p": lambda: asyncio.run(ask_all(engine, sampled)),
        "our engine, kept to a schema": lambda: asyncio.run(ask_all(engine, guided)),
    }
    if engine.adapters:
        mixed = [replace(r, adapter=(["", *names])[at % 4]) for at, r in enumerate(plain)]
        one = [replace(r, adapter="one") for r in plain]
        cases["our engine, one adapter"] = lambda: asyncio.run(ask_all(engine, one))
        cases["our engine, base and three adapters"] = lambda: asyncio.run(ask_all(engine, mixed))
    with bare_manager(folder, prompts, tokens) as bare:
        found = repeated({BARE: bare, **cases}, repetitions)
    engine.unload()
    return found


def repeated(cases: Mapping[str, Callable[[], int]], repetitions: int) -> dict[str, tuple[float, float]]:
    """The medians, each case in turn."""
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for run in cases.values():
        run()  # warm
    for _ in range(repetitions):
        for name, run in cases.items():
            figures[name].append(rated(run))
    return {
        name: (statistics.median(cpu for cpu, _ in rates), statistics.median(wall for _, wall in rates))
        for name, rates in figures.items()
    }


def rated(run: Callable[[], int]) -> tuple[float, float]:
    """Tokens per second of CPU time and of wall time."""
    cpu, wall = time.process_time(), time.perf_counter()
    tokens = run()
    return tokens / (time.process_time() - cpu), tokens / (time.perf_counter() - wall)


async def ask(engine: Engine, request: Request) -> int:
    count = 0
    async for piece in engine.generate(request):
        count = piece.completion_tokens
    return count


async def ask_all(engine: Engine, requests: list[Request]) -> int:
    return sum(await asyncio.gather(*(ask(engine, request) for request in requests)))


async def ask_one_by_one(engine: Engine, requests: list[Request]) -> int:
    return sum([await ask(engine, request) for request in requests])


def load(folder: Path) -> tuple[torch.nn.Module, transformers.PreTrainedTokenizerBase]:
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def one_by_one(folder: Path, prompts: list[str], tokens: int) -> Callable[[], int]:
    model, tokenizer = load(folder)
    model.generation_config.eos_token_id = None

    def run() -> int:
        count = 0
        for prompt in prompts:
            given = tokenizer(prompt, return_tensors="pt")
            out = model.generate(**given, max_new_tokens=tokens, do_sample=False, pad_token_id=0)
            count += out.shape[1] - given["input_ids"].shape[1]
        return count

    return run


@contextmanager
def bare_manager(folder: Path, prompts: list[str], tokens: int) -> Iterator[Callable[[], int]]:
    """Stopped at the end: no process ends before its thread does."""
    model, tokenizer = load(folder)
    config = transformers.ContinuousBatchingConfig(
        page_size=32, num_blocks=512, max_batch_tokens=512, max_requests_per_batch=64, use_cuda_graph=False
    )
    generation = transformers.GenerationConfig(do_sample=False, eos_token_id=-1)
    manager = model.init_continuous_batching(generation, continuous_batching_config=config)
    manager.start()

    def run() -> int:
        keys = {manager.add_request(tokenizer(p)["input_ids"], max_new_tokens=tokens, streaming=True) for p in prompts}
        count = 0
        while keys:
            result = manager.get_result(timeout=1)
            if result is not None and result.is_finished():
                keys.discard(result.request_id)
                count += len(result.generated_tokens)
        return count

    try:
        yield run
    finally:
        manager.stop()


def made(folder: Path, hidden: int, layers: int, vocabulary: int) -> Path:
    """A llama of this size that never ends by itself, with the tiny tokenizer."""
    tiny_models.decoder(folder)
    config = transformers.AutoConfig.from_pretrained(folder)
    config.update({"hidden_size": hidden, "intermediate_size": 4 * hidden, "num_hidden_layers": layers,
                   "num_attention_heads": hidden // 32, "num_key_value_heads": hidden // 64,
                   "max_position_embeddings": 4096, "eos_token_id": None, "vocab_size": vocabulary})  # fmt: skip
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    (folder / "generation_config.json").write_text('{"do_sample": false}')
    (folder / "made").touch()
    return folder


def made_adapter(folder: Path, base: Path, seed: int) -> None:
    import peft

    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(r=16, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(model, config).save_pretrained(folder)


if __name__ == "__main__":
    main()
