"""An ONNX-exported decoder, whatever its size: found out from the names and shapes of its inputs and outputs.

One without a KV cache reads everything again for each token; what it reads then is its cache.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need

np = need("numpy", extra="cpu")

Array = Any
SMALL = 64 * 2**20  # below this many bytes, splitting a product over cores costs more than it gains
KNOWN = {"input_ids", "attention_mask", "position_ids", "use_cache_branch", "num_logits_to_keep"}
PAST = re.compile(r"past_key_values\.(\d+)\.(key|value)$")


@dataclass(frozen=True)
class CacheInput:
    """One past input: its name, the output that continues it, heads, head size, element type."""

    name: str
    output: str
    heads: int
    size: int
    dtype: Any


class Decoder:
    """``run`` is one pass over new tokens. Prompts are padded on the left, so the last position counts for all rows."""

    def __init__(self, file: Path, config: dict[str, Any]) -> None:
        self.session = open_session(file)
        self.weights_bytes = weights_bytes(file)
        self.inputs = {value.name for value in self.session.get_inputs()}
        self.cache_inputs = cache_inputs(self.session, config, file)
        if unknown := sorted(self.inputs - KNOWN - {c.name for c in self.cache_inputs}):
            raise ValidationException(
                f"The model {file} wants inputs that a text decoder has not: {', '.join(unknown)}.",
                hint="export it with optimum as text-generation-with-past",
            )
        self.outputs = ["logits", *(cache.output for cache in self.cache_inputs)]

    def empty_cache(self, rows: int) -> list[Array]:
        """Arrays [rows, heads, 0, size]; without a KV cache one of token ids, [rows, 1, 0, 1]."""
        if not self.cache_inputs:
            return [np.zeros((rows, 1, 0, 1), np.int64)]
        return [np.zeros((rows, c.heads, 0, c.size), c.dtype) for c in self.cache_inputs]

    def run(self, ids: Array, mask: Array, cache: list[Array]) -> tuple[Array, list[Array]]:
        """Logits of the last position (float32 [rows, vocabulary]) and the cache, grown by the new tokens."""
        if not self.cache_inputs:
            ids = np.concatenate([cache[0][:, 0, :, 0], ids], axis=1)
        feeds = {"input_ids": ids, "attention_mask": mask, "num_logits_to_keep": np.array(1)}
        feeds.update((c.name, value) for c, value in zip(self.cache_inputs, cache, strict=False))
        feeds["position_ids"] = positions(mask, ids.shape[1])
        feeds["use_cache_branch"] = np.array([cache[0].shape[2] > 0])
        logits, *grown = self.session.run(self.outputs, {name: feeds[name] for name in self.inputs})
        return logits[:, -1].astype(np.float32, copy=False), grown or [ids[:, None, :, None]]


def positions(mask: Array, new: int) -> Array:
    """Each new token's place in its own row: the padding before a row is not counted."""
    return np.maximum(mask.cumsum(axis=1) - 1, 0)[:, -new:]


def weights_bytes(file: Path) -> int:
    """Of the graph and of what it reads beside it: weights over 2 GB stand in files whose names begin with its name,
    and the embedded model's in the one that torch reads, too."""
    parts = list(file.parent.glob(f"{file.name}*"))
    shared = file.with_suffix(".safetensors")
    if shared.is_file() and file.stat().st_size < SMALL and shared.name.encode() in file.read_bytes():
        parts.append(shared)
    return sum(part.stat().st_size for part in parts)


def open_session(file: Path) -> Any:
    runtime = need("onnxruntime", extra="cpu")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1 if weights_bytes(file) < SMALL else min(8, os.cpu_count() or 1)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin while they wait would take the cores from the flow that waits for the answer.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ValidationException(f"ONNX Runtime cannot load {file}: {error}") from error


def cache_inputs(session: Any, config: dict[str, Any], file: Path) -> tuple[CacheInput, ...]:
    """The past inputs in order, each with its output, or none; ``config.json`` fills in sizes that the graph leaves
    open."""
    outputs = {value.name for value in session.get_outputs()}
    inputs = {value.name: value for value in session.get_inputs()}
    found = []
    for name, value in inputs.items():
        match = PAST.match(name)
        output = f"present.{match[1]}.{match[2]}" if match else ""
        if match and output in outputs and len(value.shape) == 4:
            heads, size = value.shape[1], value.shape[3]
            found.append(
                CacheInput(
                    name,
                    output,
                    heads if isinstance(heads, int) else config_heads(config),
                    size if isinstance(size, int) else config_head_size(config),
                    np.float16 if "float16" in value.type else np.float32,
                )
            )
    if "logits" not in outputs or not {"input_ids", "attention_mask"} <= inputs.keys():
        raise ValidationException(
            f"The model {file} is no decoder: it needs input_ids and attention_mask (and past_key_values.N.key/value "
            "for a KV cache), and must give logits (and present.N.key/value).",
            hint="export it with optimum as text-generation-with-past",
        )
    return tuple(found)


def config_heads(config: dict[str, Any]) -> int:
    return int(config.get("num_key_value_heads") or config.get("num_attention_heads") or config["n_head"])


def config_head_size(config: dict[str, Any]) -> int:
    if config.get("head_dim"):
        return int(config["head_dim"])
    width = config.get("hidden_size") or config["n_embd"]
    return int(width // (config.get("num_attention_heads") or config["n_head"]))
