"""What was predicted against real loads of the torch engine, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.facts import facts_of_folder
from catalog.fit import predict
from catalog.machine import Machine
from catalog.plans import Wish
from tests.tiny_models import decoder

pytest.importorskip("transformers")

LOAD = """
import asyncio, json, resource, sys
from pathlib import Path
from serve.engines.base import Request, Sampling
from serve.engines.transformers import TransformersEngine

folder, context, rows = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
engine = TransformersEngine("model", folder, device="cpu", context=context)
engine.load()

async def answer(row):
    request = Request(prompt=[5 + row] * (context - 40), sampling=Sampling(max_tokens=8))
    return [piece async for piece in engine.generate(request)]

async def answers():
    await asyncio.gather(*map(answer, range(rows)))

asyncio.run(answers())
stats = engine.stats()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
engine.unload()
print(json.dumps([stats.weights_bytes, stats.cache_bytes, peak, stats.dtype]))
"""
SHAPES = {
    "llama": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 8, "num_attention_heads": 12,
              "num_key_value_heads": 4, "vocab_size": 32000, "max_position_embeddings": 4096},
    "qwen3": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 8,
              "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 16000, "max_position_embeddings": 4096},
    "qwen3_moe": {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 8,
                  "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 16000, "max_position_embeddings": 4096,
                  "num_experts": 32, "num_experts_per_tok": 4, "moe_intermediate_size": 384},
}  # fmt: skip


def made(folder: Path, family: str) -> Path:
    """A model of random weights and some 100 million parameters, with the tokenizer of a tiny one."""
    import torch
    import transformers

    decoder(folder)
    config = transformers.AutoConfig.for_model(family, **SHAPES[family])
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize(("context", "rows"), [(512, 8), (4096, 1)])
def test_a_real_load_takes_no_more_than_was_predicted(tmp_path: Path, family: str, context: int, rows: int) -> None:
    folder = made(tmp_path / "model", family)
    facts = facts_of_folder(folder)
    fit = predict(facts.config, facts.weights, Machine.here(), Wish(context=context, concurrency=rows))
    (plan,) = [plan for plan in fit.plans if plan.engine == "transformers"]
    assert plan.fits
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder), str(context), str(rows)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    weights, cache, peak, dtype = json.loads(done.stdout.splitlines()[-1])
    assert dtype == plan.dtype
    # Positions and such are computed, and not in the file: a few kilobytes.
    assert 0 <= weights - plan.weights < 100_000
    assert cache <= plan.cache
    assert peak <= plan.needed < 1.7 * peak
    print(family, context, rows, f"predicted {plan.needed >> 20} MiB, took {peak >> 20} MiB")
