"""What a card says of a model: licence, task, size, context, formats, adapters, results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from catalog.formats import PICKLE, WEIGHTS, formats, kind
from catalog.hubinfo import ModelInfo, RepoFile, words
from catalog.licences import is_open
from catalog.local import LocalModel
from promptflow.exceptions import ValidationException

README, CONFIG = "README.md", "config.json"
_SMALL = 4 << 20  # bytes: what a card or a configuration may have at most
# What families of models call the longest input they were made for.
_CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length")


@dataclass(frozen=True)
class Result:
    """A published result: of which task on which data, what was measured."""

    task: str
    dataset: str
    metric: str
    value: Any


@dataclass(frozen=True)
class Card:
    """One model. ``sizes``: bytes of the weights by format. ``open``: its licence allows every use; None if it names
    none. ``context`` in tokens, 0 if unknown; ``code``: it needs code of its own to be loaded."""

    id: str
    sha: str
    licence: str
    open: bool | None
    gated: str
    task: str
    languages: tuple[str, ...]
    parameters: int | None
    context: int
    architecture: str
    library: str
    sizes: Mapping[str, int]
    code: bool
    base_models: tuple[str, ...]
    results: tuple[Result, ...]
    downloads: int = 0
    likes: int = 0
    updated: str = ""


def card_of(model: ModelInfo, read: Callable[[str], bytes]) -> Card:
    """The card of a model on a hub; ``read`` gets a small file of it."""
    small = {file.name for file in model.files if (file.size or 0) <= _SMALL}
    config = _json(read(CONFIG)) if CONFIG in small else dict(model.config)
    return Card(
        id=model.id,
        sha=model.sha,
        licence=model.licence,
        open=is_open(model.licence) if model.licence else None,
        gated=model.gated,
        task=model.task,
        languages=model.languages,
        parameters=model.parameters,
        context=context(config) or _number(model.gguf.get("context_length")),
        architecture=_architecture(config) or str(model.gguf.get("architecture") or ""),
        library=model.library,
        sizes=weight_sizes(model.files),
        code="auto_map" in config,
        base_models=model.base_models,
        results=published(model.card),
        downloads=model.downloads,
        likes=model.likes,
        updated=model.updated,
    )


def card_of_folder(folder: Path, id: str, files: Sequence[RepoFile], sha: str = "") -> Card:
    """The card of a model on this machine: a pulled one, or a folder of the user's."""
    front = front_matter(_small_text(folder / README))
    config = _json(_small_text(folder / CONFIG))
    licence = front.get("license_name") if front.get("license") == "other" else front.get("license")
    named = ", ".join(words(licence))
    return Card(
        id=id,
        sha=sha,
        licence=named,
        open=is_open(named) if named else None,
        gated="",
        task=str(front.get("pipeline_tag") or ""),
        languages=words(front.get("language")),
        parameters=None,
        context=context(config),
        architecture=_architecture(config),
        library=str(front.get("library_name") or ""),
        sizes=weight_sizes(files),
        code="auto_map" in config,
        base_models=words(front.get("base_model")),
        results=published(front),
    )


def card_of_pulled(model: LocalModel) -> Card:
    files = [RepoFile(file.name, file.size) for file in model.files]
    return card_of_folder(model.folder, model.id, files, model.sha)


def card_of_path(path: Path) -> Card:
    """The card of a folder, or of one GGUF file."""
    if path.is_dir():
        found = [file for file in sorted(path.rglob("*")) if file.is_file()]
        files = [RepoFile(file.relative_to(path).as_posix(), file.stat().st_size) for file in found]
        return card_of_folder(path, str(path), files)
    if kind(path.name) not in WEIGHTS:
        raise ValidationException(f"{path} is no model.", hint="name a folder, or a .gguf, .onnx or .safetensors file")
    return card_of_folder(path.parent / "none", str(path), [RepoFile(path.name, path.stat().st_size)])


def front_matter(text: str | bytes) -> dict[str, Any]:
    """The YAML between ``---`` lines at the head of a README; empty if there is none that can be read."""
    words = text.decode(errors="replace") if isinstance(text, bytes) else text
    lines = words.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in lines[1:]:
        return {}
    try:
        found = yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def published(card: Mapping[str, Any]) -> tuple[Result, ...]:
    """The results in ``model-index``, as Papers with Code made it and the hub reads it."""
    return tuple(
        Result(_name(result.get("task")), _name(result.get("dataset")), _name(metric), metric.get("value"))
        for model in _dicts(card.get("model-index"))
        for result in _dicts(model.get("results"))
        for metric in _dicts(result.get("metrics"))
    )


def weight_sizes(files: Sequence[RepoFile]) -> dict[str, int]:
    """Bytes by format; those of pickles only where there is nothing else."""
    found = [name for name in formats(files) if name != PICKLE] or list(formats(files))
    return {name: sum(file.size or 0 for file in files if kind(file.name) == name) for name in found}


def context(config: Mapping[str, Any]) -> int:
    """How many tokens a model was made for, by its config.json; 0 if that does not say."""
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, dict) else {}):
        for key in _CONTEXT:
            if number := _number(part.get(key)):
                return number
    return 0


def _architecture(config: Mapping[str, Any]) -> str:
    return next(iter(words(config.get("architectures"))), str(config.get("model_type") or ""))


def _name(value: Any) -> str:
    if not isinstance(value, dict):
        return ""
    return str(value.get("name") or value.get("type") or "")


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**12 else 0


def _json(data: bytes | str) -> dict[str, Any]:
    try:
        found = json.loads(data or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _small_text(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size > _SMALL:
        return b""
    return path.read_bytes()
