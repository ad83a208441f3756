"""From the vectors of tokens to one of the text, as the model's own files (sentence-transformers' layout) have it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need
from serve.engines.base import UnsupportedError
from serve.engines.json_file import read_json

np = need("numpy", extra="cpu")

MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}


@dataclass(frozen=True)
class Pooling:
    """``how``: cls, mean, max or last. ``unit``: vectors get length 1. ``longest``: tokens of a text, 0 for no limit of
    its own. ``prompts``: what is put before a text, by purpose ("query", "document"); ``prompt`` is the usual one."""

    how: str = "mean"
    unit: bool = True
    longest: int = 0
    prompt: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)


def read_pooling(folder: Path) -> Pooling:
    """What the folder says; without a word mean pooling to length 1, as most encoders are used."""
    if not (folder / "modules.json").is_file():
        return Pooling()
    how, unit = "mean", False
    for module in read_modules(folder / "modules.json"):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            how = _mode(read_json(folder / str(module.get("path", "")) / "config.json"), folder)
        elif kind == "Normalize":
            unit = True
        elif kind != "Transformer":
            raise UnsupportedError(f"The embedding model in {folder} has a module '{kind}', which is not run here.")
    settings = read_json(folder / "config_sentence_transformers.json")
    prompts = {str(name): str(text) for name, text in (settings.get("prompts") or {}).items()}
    usual = prompts.get(str(settings.get("default_prompt_name")), "")
    longest = int(read_json(folder / "sentence_bert_config.json").get("max_seq_length") or 0)
    return Pooling(how, unit, longest, usual, prompts)


def read_modules(file: Path) -> list[dict[str, Any]]:
    try:
        modules = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValidationException(f"{file} is not JSON: {error}") from error
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise ValidationException(f"{file} must hold a list of modules.")
    return modules


def _mode(config: Mapping[str, Any], folder: Path) -> str:
    asked = [name for name, value in config.items() if name.startswith("pooling_mode") and value is True]
    if len(asked) != 1 or asked[0] not in MODES:
        raise UnsupportedError(f"The embedding model in {folder} pools by {', '.join(asked) or 'nothing'}.")
    return MODES[asked[0]]


def pool(hidden: Any, mask: Any, pooling: Pooling) -> Any:
    """``hidden`` [texts, tokens, size] → [texts, size]; ``mask`` [texts, tokens] is 1 where a text has a token. Texts
    are padded on the right."""
    if pooling.how == "cls":
        vectors = hidden[:, 0]
    elif pooling.how == "last":
        vectors = hidden[np.arange(len(hidden)), mask.sum(axis=1) - 1]
    elif pooling.how == "max":
        vectors = np.where(mask[:, :, None] > 0, hidden, -np.inf).max(axis=1)
    else:
        weights = mask[:, :, None].astype(hidden.dtype)
        vectors = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return unit(vectors) if pooling.unit else vectors


def unit(vectors: Any) -> Any:
    """The vectors at length 1; one of zeros stays as it is."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
