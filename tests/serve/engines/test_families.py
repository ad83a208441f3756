"""Tiny random models of many families: the torch engine says what transformers' own `generate` says, several at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from catalog.families import PAGED  # noqa: E402
from serve.engines import open_engine  # noqa: E402
from serve.engines.torch_model import load_tokenizer  # noqa: E402
from tests import tiny_models  # noqa: E402
from tests.serve.engines.asking import ask_all, plain  # noqa: E402

# What makes a model of any family small; each takes what it knows.
SMALL: dict[str, Any] = {
    "hidden_size": 64, "n_embd": 64, "d_model": 64, "intermediate_size": 128, "ffn_dim": 128, "n_inner": 128,
    "ffn_hidden_size": 128, "num_hidden_layers": 4, "n_layer": 4, "n_layers": 4, "num_attention_heads": 4, "n_head": 4,
    "n_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256, "n_positions": 256,
    "max_seq_len": 256, "sliding_window": 16, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
    "word_embed_proj_dim": 64, "rotary_dim": 8, "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 1,
    "topk_group": 1, "moe_num_experts": 4, "moe_k": 2, "dense_intermediate_size": 128, "pad_token_id": 0,
    "bos_token_id": 0, "eos_token_id": 2, "attention_chunk_size": 16, "intermediate_size_mlp": 128, "ffn_dims": 128,
    "mamba_d_state": 8, "mamba_n_heads": 4, "mamba_d_head": 32, "state_size": 8, "expand": 2, "mamba_expand": 2,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16,
    "dtype": "float32", "layer_types": None,
}  # fmt: skip
LATENT = {"head_dim": 8, "num_key_value_heads": 4}
OWN: dict[str, dict[str, Any]] = {
    "deepseek_v2": LATENT, "deepseek_v3": LATENT, "gpt_bigcode": {"num_key_value_heads": 1}
}  # fmt: skip
# Of these some are answered one at a time: their layers are not what pages hold.
OTHERS = (
    "bloom", "codegen", "deepseek_v2", "deepseek_v3", "falcon", "falcon_mamba", "gemma2", "gptj", "mamba", "mpt", "nemotron",
    "olmoe", "opt", "stablelm",
)  # fmt: skip
PROMPTS = (
    "The quick brown fox", "0 1 2 3", "you are a helpful assistant " * 6, "def add(a, b):", "{", "Paris " * 40,
)  # fmt: skip
TOKENS = 12


def make(folder: Path, family: str) -> Any:
    """A model of the family with random weights, large enough that its words differ."""
    tokenizer = tiny_models._byte_level(folder, tiny_models.TEMPLATE)
    kind = transformers.CONFIG_MAPPING[family]
    known = {**vars(kind()), **{name: 0 for name in getattr(kind, "attribute_map", {})}}
    asked = {name: value for name, value in SMALL.items() if name in known} | OWN.get(family, {})
    config = kind(**asked, vocab_size=tokenizer.get_vocab_size())
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() > 1:
                value.normal_(0, 1.0 if "embed" in name or "wte" in name else value.shape[-1] ** -0.5)
    model.generation_config = transformers.GenerationConfig(
        do_sample=False, eos_token_id=2, bos_token_id=0, pad_token_id=0
    )
    model.save_pretrained(folder)
    return model.eval()


def expected(model: Any, tokenizer: Any, prompt: str) -> str:
    ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False).ids])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False)
    return str(tokenizer.decode(out[0][ids.shape[1] :].tolist()))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """More cost more than they bring to models so small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_pages_that_would_answer_wrong_are_found_out(tmp_path: Path) -> None:
    check("mpt", tmp_path, runner="Solo")


@pytest.mark.slow
@pytest.mark.parametrize("family", [*sorted(PAGED - {"gemma3"}), *OTHERS])
def test_a_family_is_answered_as_by_generate(family: str, tmp_path: Path) -> None:
    check(family, tmp_path, runner="Batcher" if family in PAGED else "")


def check(family: str, tmp_path: Path, runner: str) -> None:
    if family not in transformers.CONFIG_MAPPING:
        pytest.skip("this version of transformers does not know it")
    model = make(tmp_path, family)
    engine = open_engine(family, "transformers", tmp_path, device="cpu", dtype="float32", context=256)
    engine.load()
    try:
        said = ask_all(engine, [plain(prompt, max_tokens=TOKENS, temperature=0) for prompt in PROMPTS])
        assert runner in ("", type(engine._runner).__name__)  # type: ignore[attr-defined]
    finally:
        engine.unload()
    tokenizer = load_tokenizer(tmp_path)
    wanted = [expected(model, tokenizer, prompt) for prompt in PROMPTS]
    assert len({*wanted}) > 2  # else the model says the same whatever it is told
    assert [text.rstrip("\ufffd") for text in said] == [text.rstrip("\ufffd") for text in wanted]
