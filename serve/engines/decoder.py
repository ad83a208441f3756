"""An ONNX-exported decoder with a KV cache, whatever its size: found out from the names and shapes of its inputs."""

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
        folder = file.parent
        self.session = open_session(file)
        # Weights over 2 GB stand beside the graph, in files whose names begin with its name.
        self.weights_bytes = sum(part.stat().st_size for part in folder.glob(f"{file.name}*"))
        names = {value.name for value in self.session.get_inputs()}
        self.cache_inputs = cache_inputs(self.session, config, folder)
        self.takes_positions = "position_ids" in names
        self.merged = "use_cache_branch" in names
        known = {
            "input_ids",
            "attention_mask",
            "position_ids",
            "use_cache_branch",
            *(c.name for c in self.cache_inputs),
        }
        if unknown := sorted(names - known):
            raise ValidationException(
                f"The model in {folder} wants inputs that a text decoder has not: {', '.join(unknown)}.",
                hint="export it with optimum as text-generation-with-past",
            )
        self.outputs = ["logits", *(cache.output for cache in self.cache_inputs)]

    def empty_cache(self, rows: int) -> list[Array]:
        return [np.zeros((rows, c.heads, 0, c.size), c.dtype) for c in self.cache_inputs]

    def run(self, ids: Array, mask: Array, cache: list[Array]) -> tuple[Array, list[Array]]:
        """Logits of the last position (float32 [rows, vocabulary]) and the cache, grown by the new tokens."""
        feeds = {"input_ids": ids, "attention_mask": mask}
        feeds.update((c.name, value) for c, value in zip(self.cache_inputs, cache, strict=True))
        if self.takes_positions:
            feeds["position_ids"] = positions(mask, ids.shape[1])
        if self.merged:
            feeds["use_cache_branch"] = np.array([cache[0].shape[2] > 0])
        logits, *grown = self.session.run(self.outputs, feeds)
        return logits[:, -1].astype(np.float32, copy=False), grown


def positions(mask: Array, new: int) -> Array:
    """Each new token's place in its own row: the padding before a row is not counted."""
    return np.maximum(mask.cumsum(axis=1) - 1, 0)[:, -new:]


def open_session(file: Path) -> Any:
    runtime = need("onnxruntime", extra="cpu")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1 if file.stat().st_size < SMALL else min(8, os.cpu_count() or 1)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin while they wait would take the cores from the flow that waits for the answer.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ValidationException(f"ONNX Runtime cannot load {file}: {error}") from error


def cache_inputs(session: Any, config: dict[str, Any], folder: Path) -> tuple[CacheInput, ...]:
    """The past inputs in order, each with its output; ``config.json`` fills in sizes that the graph leaves open."""
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
    if not found or "logits" not in outputs or not {"input_ids", "attention_mask"} <= inputs.keys():
        raise ValidationException(
            f"The model in {folder} is no decoder with a KV cache: it needs input_ids, attention_mask and "
            "past_key_values.N.key/value, and must give logits and present.N.key/value.",
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
