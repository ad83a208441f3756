"""Models that run one request at a time: state-space ones, and those that read images."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptflow.exceptions import ValidationException
from serve.engines import open_engine
from serve.engines.base import Engine, EngineClosedError, EngineFailedError, Request, Sampling, UnsupportedError
from tests import tiny_models
from tests.serve.engines.asking import ask, ask_all, pieces, plain, text_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
np = pytest.importorskip("numpy")

SIZES = {
    "vocab_size": 493,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
SLIDES = ["sliding_attention"] * 3 + ["full_attention"]
PROMPTS = ["The quick brown fox", "A function call", "you are " * 60, "0 1 2 3"]

# Model type → what its config has beside the sizes, and whether its layers share a paged cache.
ARCHITECTURES: dict[str, tuple[dict[str, Any], bool]] = {
    "mamba": ({"state_size": 8}, False),
    "gpt2": ({"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 512}, True),
    "gemma2": ({"sliding_window": 16, "query_pre_attn_scalar": 32}, True),
    "gemma3_text": ({"sliding_window": 16, "layer_types": SLIDES, "query_pre_attn_scalar": 32}, True),
    "mistral": ({"sliding_window": 16}, True),
    "mixtral": ({**EXPERTS, "sliding_window": None}, True),
    "gpt_oss": ({**EXPERTS, "sliding_window": 16}, True),
    "llama4_text": (
        {**EXPERTS, "intermediate_size_mlp": 128, "attention_chunk_size": 64, "num_experts_per_tok": 1},
        False,
    ),
    "falcon_h1": ({"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16}, False),
    "qwen3_next": (
        {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 32,
            "linear_num_value_heads": 2,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
        },
        False,
    ),
    "deepseek_v3": (
        {
            "num_key_value_heads": 2,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "first_k_dense_replace": 1,
            "kv_lora_rank": 16,
            "q_lora_rank": 16,
            "qk_rope_head_dim": 16,
            "qk_nope_head_dim": 16,
            "v_head_dim": 32,
        },
        False,
    ),
}


def made(folder: Path, kind: str) -> Path:
    """A model of this type with random weights."""
    sizes = {} if kind == "gpt2" else SIZES
    if kind == "deepseek_v3":
        sizes = {name: value for name, value in SIZES.items() if name != "head_dim"}
    config = transformers.AutoConfig.for_model(
        kind, **{"vocab_size": 493, "eos_token_id": 2, **sizes, **ARCHITECTURES[kind][0]}
    )
    torch.manual_seed(1)
    transformers.utils.logging.disable_progress_bar()
    tiny_models.decoder(folder)
    (folder / "model.safetensors").unlink()
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": False, "eos_token_id": 2}))
    return folder


@pytest.mark.parametrize(
    "kind", ["mamba", *(pytest.param(one, marks=pytest.mark.slow) for one in list(ARCHITECTURES)[1:])]
)
def test_every_kind_of_layer_says_what_generate_says(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serve.engines.row import Row
    from serve.engines.sampling import Picked
    from serve.engines.solo import Solo

    said: dict[tuple[int, ...], list[int]] = {}
    accept = Row.accept

    def heard(self: Row, picked: Picked) -> None:
        said.setdefault(tuple(self.prompt), []).append(picked.token)
        accept(self, picked)

    monkeypatch.setattr(Row, "accept", heard)
    engine = open_engine(kind, folder=made(tmp_path / kind, kind), device="cpu", dtype="float32")
    engine.load()
    together = not isinstance(engine._runner, Solo)  # type: ignore[attr-defined]
    ask_all(engine, [plain(prompt, max_tokens=20) for prompt in PROMPTS])
    engine.unload()
    assert together is ARCHITECTURES[kind][1]
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / kind, dtype="float32")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / kind)
    for prompt in PROMPTS:
        given = tokenizer(prompt, return_tensors="pt")["input_ids"]
        out = model.generate(given, max_new_tokens=20, do_sample=False, pad_token_id=0)[0].tolist()
        start = given.shape[1]
        assert said[tuple(out[:start])] == out[start:], prompt


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A tiny Llava: a CLIP of 4 patches before a llama."""
    pytest.importorskip("PIL")
    folder = tmp_path_factory.mktemp("llava")
    tiny_models.decoder(folder)
    (folder / "model.safetensors").unlink()
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["<image>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    text = {"model_type": "llama", **SIZES, "vocab_size": 494}
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
        "projection_dim": 32,
    }
    config = transformers.LlavaConfig(text_config=text, vision_config=vision, image_token_id=493, image_seq_length=4)
    torch.manual_seed(1)
    transformers.utils.logging.disable_progress_bar()
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": False, "eos_token_id": 2}))
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for part in m.content %}{{ '<image>' if part.type == 'image' else part.text }}{% endfor %}{% endif %}"
        "<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\n' }}"
    )
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": template}))
    sizes = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
    processor = {"image_processor_type": "CLIPImageProcessor", "processor_class": "LlavaProcessor", **sizes}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "processor_config.json").write_text(
        json.dumps(
            {
                "processor_class": "LlavaProcessor",
                "patch_size": 14,
                "image_token": "<image>",
                "vision_feature_select_strategy": "default",
                "num_additional_image_tokens": 1,
            }
        )
    )
    engine = open_engine("llava", folder=folder, device="cpu", dtype="float32")
    engine.load()
    yield engine
    engine.unload()


def picture(color: tuple[int, int, int]) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def looking(url: str, tokens: int = 12) -> Request:
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]
    return Request([{"role": "user", "content": parts}], sampling=Sampling(max_tokens=tokens, logprobs=1))


def test_an_image_is_looked_at(seeing: Engine) -> None:
    assert seeing.inputs == {"text", "image"}
    red, blue = (ask(seeing, looking(picture(color))) for color in ((255, 0, 0), (0, 0, 255)))
    text = ask(seeing, Request([{"role": "user", "content": "What is it?"}], sampling=Sampling(max_tokens=12)))
    assert red[-1].prompt_tokens == blue[-1].prompt_tokens == text[-1].prompt_tokens + 4
    assert red[0].logprobs[0].logprob != blue[0].logprobs[0].logprob
    model = seeing._runner.model  # type: ignore[attr-defined]
    processor = seeing.prompts.processor  # type: ignore[attr-defined]
    prompt = "<|im_start|>user\n<image>What is it?<|im_end|>\n<|im_start|>assistant\n"
    from PIL import Image

    given = processor(text=[prompt], images=[Image.new("RGB", (40, 30), (255, 0, 0))], return_tensors="pt")
    with torch.no_grad():
        expected = model(**given).logits[0, -1].log_softmax(-1).max().item()
    assert red[0].logprobs[0].logprob == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("https://example.com/cat.png", UnsupportedError, "data URLs"),
        ("data:image/png;base64,AAAA", ValidationException, "cannot be read"),
        ("data:image/png;base64,!", ValidationException, "cannot be read"),
    ],
)
def test_images_that_cannot_be_read(seeing: Engine, url: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        ask(seeing, looking(url))


def test_a_text_model_says_that_it_sees_nothing(llama: Engine) -> None:
    with pytest.raises(UnsupportedError, match="reads text only, not image_url"):
        ask(llama, looking(picture((0, 0, 0))))


def test_one_at_a_time_each_gets_its_own(seeing: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = text_of(ask(seeing, plain("The quick", max_tokens=10)))

    async def three() -> list[Any]:
        asked = [
            plain("The quick", max_tokens=10),
            plain("x", json_schema={"type": "strange"}),
            plain("The quick", max_tokens=10),
        ]
        return await asyncio.gather(*(pieces(seeing, one) for one in asked), return_exceptions=True)

    first, bad, last = asyncio.run(three())
    assert text_of(first) == text_of(last) == alone and isinstance(bad, ValidationException)
    monkeypatch.setattr(seeing._runner.model, "generate", None)  # type: ignore[attr-defined]
    with pytest.raises(EngineFailedError):
        ask(seeing, plain("The quick"))


def test_unloading_ends_what_runs_and_what_waits(tmp_path: Path) -> None:
    engine = open_engine("mamba", folder=made(tmp_path / "mamba", "mamba"), device="cpu", dtype="float32")
    engine.load()
    request = plain("0 1 2 3", max_tokens=1500, logit_bias={65: 1000.0})

    async def unloaded() -> list[Any]:
        waiting = [asyncio.ensure_future(pieces(engine, request)) for _ in range(3)]
        while engine.stats().running == 0:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(engine.unload)
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert all(isinstance(one, EngineClosedError) for one in asyncio.run(unloaded()))
