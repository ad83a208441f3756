"""Tiny real models, made from a seed in a moment: folders that transformers, vLLM, ONNX Runtime and the hub's clients
read like any other. They need only numpy and tokenizers. None is larger than 1 MB, and none says anything sensible.

`decoder` is a Llama or Qwen3 (2 layers, heads of 32), `encoder` a BERT that makes embeddings, `ranker` a BERT that
scores pairs, `adapter` a LoRA of a decoder in PEFT's layout.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HIDDEN, HEADS, KV_HEADS, HEAD_SIZE, LAYERS, WIDE, CONTEXT = 64, 2, 1, 32, 2, 128, 512
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEXT = (
    "The quick brown fox jumps over the lazy dog while seven wizards brew potions.",
    'A function call looks like {"name": "weather", "arguments": {"city": "Paris", "days": 3}}, nothing else.',
    "Invoices, refunds and parcels: a customer asks, an agent answers, and the day goes on. 0 1 2 3 4 5 6 7 8 9",
    "def add(a, b):\n    return a + b\n\nfor line in open('data.jsonl'):\n    print(add(1, 2), line)\n",
    "You are a helpful assistant. user system tool assistant true false null yes no high low red green blue",
)
TEMPLATE = """\
{%- if tools %}{{ '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{ messages[0].content + '\\n' }}{% endif %}
{{- 'You may call these functions, each as <tool_call>\\n{"name": …, "arguments": …}\\n</tool_call>:' }}
{%- for tool in tools %}{{ '\\n' + (tool | tojson) }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}
{%- for message in messages %}
{%- if not (tools and loop.first and message.role == 'system') %}
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>\\n' + (call.function | tojson) + '\\n</tool_call>' }}{% endfor %}
{{- '<|im_end|>\\n' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def decoder(
    folder: Path, family: str = "llama", *, seed: int = 1, context: int = CONTEXT, layers: int = LAYERS
) -> Path:
    """A decoder with a byte-level tokenizer and a ChatML template that knows tools. ``family``: llama or qwen3."""
    tokenizer = _byte_level(folder, TEMPLATE)
    size = tokenizer.get_vocab_size()
    common = {
        "model_type": family,
        "vocab_size": size,
        "hidden_size": HIDDEN,
        "intermediate_size": WIDE,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_SIZE,
        "max_position_embeddings": context,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": family == "qwen3",
        "bos_token_id": 0,
        "eos_token_id": 2,
        "dtype": "float32",
    }
    names = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
    _json(folder / "config.json", {"architectures": [names[family]], **common})
    _json(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": [2, 0], "do_sample": False})
    save_safetensors(folder / "model.safetensors", _decoder_weights(family, size, layers, seed), {"format": "pt"})
    return folder


def encoder(folder: Path, *, seed: int = 2, pooling: str = "mean") -> Path:
    """A BERT with the files of sentence-transformers: ``pooling`` (mean, cls, max or last), then unit length.
    Its vectors have 64 numbers."""
    size = _word_pieces(folder)
    _json(folder / "config.json", {"architectures": ["BertModel"], **_bert_config(size)})
    save_safetensors(folder / "model.safetensors", _bert_weights(size, seed), {"format": "pt"})
    kind = "sentence_transformers.models"
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    entries = [
        {"idx": at, "name": str(at), "path": path, "type": f"{kind}.{name}"} for at, (path, name) in enumerate(modules)
    ]
    (folder / "1_Pooling").mkdir()
    ways = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "last": "lasttoken"}
    pools = {f"pooling_mode_{name}": way == pooling for way, name in ways.items()}
    _json(folder / "modules.json", entries)
    _json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": HIDDEN, **pools})
    return folder


def ranker(folder: Path, *, seed: int = 3) -> Path:
    """A BERT that gives one score to a pair of texts."""
    size = _word_pieces(folder)
    labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    config = {"architectures": ["BertForSequenceClassification"], **_bert_config(size), **labels}
    _json(folder / "config.json", config)
    weights = {f"bert.{name}": value for name, value in _bert_weights(size, seed).items()}
    random = np.random.default_rng(seed)
    weights |= {"classifier.weight": _normal(random, 1, HIDDEN), "classifier.bias": np.zeros(1, np.float32)}
    save_safetensors(folder / "model.safetensors", weights, {"format": "pt"})
    return folder


def adapter(
    folder: Path,
    base: Path,
    *,
    seed: int = 4,
    rank: int = 4,
    targets: Iterable[str] = ("q_proj", "v_proj", "down_proj"),
) -> Path:
    """A LoRA adapter of ``base`` (a `decoder`), strong enough to change its answers."""
    folder.mkdir(parents=True, exist_ok=True)
    layers = json.loads((base / "config.json").read_text())["num_hidden_layers"]
    shapes = {
        "q_proj": ("self_attn", HIDDEN, HEADS * HEAD_SIZE),
        "k_proj": ("self_attn", HIDDEN, KV_HEADS * HEAD_SIZE),
        "v_proj": ("self_attn", HIDDEN, KV_HEADS * HEAD_SIZE),
        "o_proj": ("self_attn", HEADS * HEAD_SIZE, HIDDEN),
        "gate_proj": ("mlp", HIDDEN, WIDE),
        "up_proj": ("mlp", HIDDEN, WIDE),
        "down_proj": ("mlp", WIDE, HIDDEN),
    }
    random = np.random.default_rng(seed)
    weights = {}
    for layer in range(layers):
        for name in targets:
            part, wide, out = shapes[name]
            stem = f"base_model.model.model.layers.{layer}.{part}.{name}"
            weights[f"{stem}.lora_A.weight"] = _normal(random, rank, wide)
            weights[f"{stem}.lora_B.weight"] = _normal(random, out, rank)
    save_safetensors(folder / "adapter_model.safetensors", weights, {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(targets),
        "inference_mode": True,
    }
    _json(folder / "adapter_config.json", config)
    return folder


def save_safetensors(file: Path, weights: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """The format is 8 bytes of header length, the header as JSON padded to 8, and the arrays one after the other."""
    kinds = {"float32": "F32", "float16": "F16", "int64": "I64", "uint8": "U8"}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, value in weights.items():
        header[name] = {"dtype": kinds[str(value.dtype)], "shape": value.shape, "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for value in weights.values():
            out.write(np.ascontiguousarray(value).tobytes())


def _decoder_weights(family: str, size: int, layers: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    # Large vectors that are tied to the output would make every token say itself again.
    spread = 0.1 if family == "qwen3" else 1.0
    weights = {"model.embed_tokens.weight": (spread * random.normal(size=(size, HIDDEN))).astype(np.float32)}
    for layer in range(layers):
        stem = f"model.layers.{layer}."
        weights |= {
            stem + "self_attn.q_proj.weight": _normal(random, HEADS * HEAD_SIZE, HIDDEN),
            stem + "self_attn.k_proj.weight": _normal(random, KV_HEADS * HEAD_SIZE, HIDDEN),
            stem + "self_attn.v_proj.weight": _normal(random, KV_HEADS * HEAD_SIZE, HIDDEN),
            stem + "self_attn.o_proj.weight": _normal(random, HIDDEN, HEADS * HEAD_SIZE),
            stem + "mlp.gate_proj.weight": _normal(random, WIDE, HIDDEN),
            stem + "mlp.up_proj.weight": _normal(random, WIDE, HIDDEN),
            stem + "mlp.down_proj.weight": _normal(random, HIDDEN, WIDE),
            stem + "input_layernorm.weight": np.ones(HIDDEN, np.float32),
            stem + "post_attention_layernorm.weight": np.ones(HIDDEN, np.float32),
        }
        if family == "qwen3":
            weights |= {f"{stem}self_attn.{one}_norm.weight": np.ones(HEAD_SIZE, np.float32) for one in "qk"}
    weights["model.norm.weight"] = np.ones(HIDDEN, np.float32)
    if family != "qwen3":
        weights["lm_head.weight"] = _normal(random, size, HIDDEN)
    return weights


def _bert_config(size: int) -> dict[str, Any]:
    return {
        "model_type": "bert",
        "vocab_size": size,
        "hidden_size": HIDDEN,
        "intermediate_size": WIDE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": 128,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "dtype": "float32",
    }


def _bert_weights(size: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    tables = {"word_embeddings": size, "position_embeddings": 128, "token_type_embeddings": 2}
    weights = {f"embeddings.{name}.weight": _normal(random, rows, HIDDEN) for name, rows in tables.items()}
    norms, dense = ["embeddings.LayerNorm"], {"pooler.dense": (HIDDEN, HIDDEN)}
    for layer in range(LAYERS):
        stem = f"encoder.layer.{layer}."
        dense |= {f"{stem}attention.self.{name}": (HIDDEN, HIDDEN) for name in ("query", "key", "value")}
        dense[f"{stem}attention.output.dense"] = (HIDDEN, HIDDEN)
        dense |= {f"{stem}intermediate.dense": (WIDE, HIDDEN), f"{stem}output.dense": (HIDDEN, WIDE)}
        norms += [f"{stem}attention.output.LayerNorm", f"{stem}output.LayerNorm"]
    for name, (out, wide) in dense.items():
        weights |= {f"{name}.weight": _normal(random, out, wide), f"{name}.bias": np.zeros(out, np.float32)}
    for name in norms:
        weights |= {f"{name}.weight": np.ones(HIDDEN, np.float32), f"{name}.bias": np.zeros(HIDDEN, np.float32)}
    return weights


def _normal(random: np.random.Generator, out: int, wide: int) -> Any:
    return (random.normal(size=(out, wide)) / math.sqrt(wide)).astype(np.float32)


def _byte_level(folder: Path, template: str) -> Any:
    """Writes a byte-level BPE of 512 tokens, the specials first."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _trained_byte_level()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIALS[0],
        "eos_token": SPECIALS[2],
        "pad_token": SPECIALS[0],
        "model_max_length": CONTEXT,
        "chat_template": template,
    }
    _json(folder / "tokenizer_config.json", config)
    return tokenizer


@cache
def _trained_byte_level() -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=512, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def _word_pieces(folder: Path) -> int:
    """Writes a lower-case WordPiece tokenizer as BERT's; how many tokens it has."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _trained_word_pieces()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    _json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizerFast", "model_max_length": 128, **names})
    return int(tokenizer.get_vocab_size())


@cache
def _trained_word_pieces() -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = tokenizers.trainers.WordPieceTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def _json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
