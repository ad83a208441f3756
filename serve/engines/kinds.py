"""What a model folder holds: which files an engine finds there, and what the model is made to do."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection
from pathlib import Path

from catalog.exports import ONNX, PLACES, onnx_name
from catalog.machine import nvidia_gpus
from promptflow.exceptions import ValidationException
from serve.engines.base import UnsupportedError
from serve.engines.json_file import read_json
from serve.installs import Installs


def onnx_file(folder: Path) -> Path | None:
    """The model's ONNX file: in the folder or its ``onnx``, by one of the usual names, or the only one there is."""
    name = onnx_name({place + file.name for place in PLACES for file in (folder / place).glob(f"*{ONNX}")})
    return folder / name if name else None


def may_run(files: Collection[str]) -> bool:
    """Whether an engine finds a model among files of these names."""
    weights = any(name.endswith(".safetensors") and "/" not in name for name in files)
    return bool(onnx_name(files)) or weights and "config.json" in files


def has_vllm() -> bool:
    """Whether the workspace has a vLLM for this machine's GPU."""
    return Installs.of().best("vllm", gpu=True) is not None and bool(nvidia_gpus())


def kind_of(folder: Path, vllm: Callable[[], bool] = has_vllm) -> str:
    """The engine for ``folder``: "onnx" where there is a ``model.onnx``; where there are weights, "vllm" for a model
    that generates if there is a ``vllm`` for this machine, else "transformers" if torch is installed; else "onnx" for
    an export in a subfolder."""
    exported = onnx_file(folder)
    if exported is not None and exported.parent == folder:
        return "onnx"
    weights = (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
    if weights and task_of(folder) in ("generate", "see") and vllm():
        return "vllm"
    if weights and (exported is None or importlib.util.find_spec("torch") is not None):
        return "transformers"
    if exported is not None:
        return "onnx"
    if (folder / "adapter_config.json").is_file():
        raise ValidationException(
            f"The folder {folder} holds an adapter, no model.", hint="open its model, then load the adapter into it"
        )
    raise ValidationException(
        f"The folder {folder} holds no model that can be run here: neither *.onnx nor config.json with *.safetensors."
    )


def task_of(folder: Path) -> str:
    """What the model was made for, by its own files: "generate", "embed" or "rerank", or "see" if it generates from
    images, too."""
    config = read_json(folder / "config.json")
    names = [str(name) for name in config.get("architectures") or ()]
    if (folder / "modules.json").is_file():
        return "embed"
    if any(name.endswith("ForSequenceClassification") for name in names):
        labels = config.get("num_labels") or len(config.get("id2label") or {0: "", 1: ""})
        if labels > 2:
            raise UnsupportedError(f"The model in {folder} sorts texts into {labels} classes; no engine serves that.")
        return "rerank"
    if "vision_config" in config and any(name.endswith(("ForConditionalGeneration", "LMHeadModel")) for name in names):
        return "see"
    if not names or any(name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in names):
        return "generate"
    return "embed"
