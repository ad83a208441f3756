"""What a GGUF file holds, from its first bytes: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from catalog.headers import Reader
from catalog.weights import Weights, WeightsError, unread

GGUF = ".gguf"
WORDS = "tokenizer.ggml.tokens"
PIECE = 64 << 10  # bytes that are read: what a model is comes before its long list of words
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _LIST = 8, 9
# The names that config.json has for the same numbers.
_NAMES = {
    "embedding_length": "hidden_size", "block_count": "num_hidden_layers", "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim", "context_length": "max_position_embeddings", "vocab_size": "vocab_size",
    "expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
}  # fmt: skip
_FAMILIES = {"gemma": "gemma", "gemma2": "gemma2", "gemma3": "gemma3_text", "phi3": "phi3", "qwen2moe": "qwen2_moe",
             "qwen3moe": "qwen3_moe", "gpt-oss": "gpt_oss", "command-r": "cohere"}  # fmt: skip


@dataclass(frozen=True)
class GgufFile:
    """``config`` has the names of config.json. ``weights`` are the bytes of the whole file, some more than its
    tensors have."""

    config: dict[str, Any]
    weights: Weights


def read_gguf(file: str, size: int, read: Reader) -> GgufFile:
    """From the first bytes of the file; WeightsError if it is none of this format."""
    data = read(file, 0, min(PIECE, size) if size else PIECE)
    if data[:4] != b"GGUF" or len(data) < 24:
        raise WeightsError(f"{file} is no GGUF file.")
    version, _, count = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        raise WeightsError(f"{file} is GGUF of version {version}; 2 and 3 are known.")
    told = dict(_values(data, 24, count))
    family = str(told.get("general.architecture", ""))
    if not family:
        raise WeightsError(f"{file} does not say what architecture it is of.")
    config = {name: told[f"{family}.{key}"] for key, name in _NAMES.items() if f"{family}.{key}" in told}
    if isinstance(words := told.get(WORDS), int):
        config.setdefault("vocab_size", words)
    config |= {"model_type": _FAMILIES.get(family, family), "torch_dtype": "float16"}
    config["quantization_config"] = {"quant_method": "gguf"}
    return GgufFile(config, Weights(size, True, unread=unread("GGUF")))


def _values(data: bytes, at: int, count: int) -> Iterator[tuple[str, Any]]:
    """Names and values, until the piece ends. Of the list of words its length; no other list is needed."""
    try:
        for _ in range(count):
            key, at = _text(data, at)
            (kind,) = struct.unpack_from("<I", data, at)
            at += 4
            if kind == _TEXT:
                value, at = _text(data, at)
                yield key, value
            elif kind == _LIST:
                inner, length = struct.unpack_from("<IQ", data, at)
                if key == WORDS:
                    yield key, length
                at = _after_list(data, at + 12, inner, length)
            else:
                yield key, struct.unpack_from(_NUMBERS[kind], data, at)[0]
                at += struct.calcsize(_NUMBERS[kind])
    except (struct.error, KeyError, IndexError):
        return  # the piece ends here, or a newer version has types that are not known


def _after_list(data: bytes, at: int, kind: int, length: int) -> int:
    if kind != _TEXT:
        return at + length * struct.calcsize(_NUMBERS[kind])
    for _ in range(length):
        _, at = _text(data, at)
    return at


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    end = at + 8 + length
    if end > len(data):
        raise IndexError(end)
    return data[at + 8 : end].decode("utf-8", "replace"), end
