"""What the hub's API says of a repo beside its files: card, tags, task, library, sizes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from catalog.headers import read_weights
from catalog.mirror.entries import Entry
from catalog.mirror.repo import MODELS, Repo
from catalog.weights import weight_files
from promptflow.exceptions import UserErrorException

_CARD, _CONFIG, _ADAPTER = "README.md", "config.json", "adapter_config.json"
_KEPT = 10_000
_SMALL = 1 << 20  # bytes of a card or config that are read
_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n---[ \t]*\r?(?:\n|\Z)", re.DOTALL)
_SAID = ("architectures", "model_type", "quantization_config", "auto_map")
_TASKS = (
    ("ForCausalLM", "text-generation"),
    ("LMHeadModel", "text-generation"),
    ("ForConditionalGeneration", "text2text-generation"),
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForMaskedLM", "fill-mask"),
    ("Model", "feature-extraction"),
)


@dataclass(frozen=True)
class Facts:
    """``card`` is the front matter of the card, ``tags`` are as the hub makes them of it."""

    card: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    task: str = ""
    library: str = ""
    weights: dict[str, Any] = field(default_factory=dict)


class KnownFacts:
    """Facts of repos that were asked for, read once for each state of a repo."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Facts] = {}

    def of(self, repo: Repo) -> Facts:
        # A pull adds files to a commit that is here in part.
        key = repo.kind, repo.id, repo.sha, len(repo.entries), repo.labels, repo.card
        if key not in self._known:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = read_facts(repo)
        return self._known[key]


def read_facts(repo: Repo) -> Facts:
    """From the card, the config and the headers of the weights; what cannot be read is left out."""
    card = _front_matter(repo.card) or _front_matter(_text(repo, _CARD))
    if repo.kind != MODELS:
        return Facts(card, tags=_tags(repo, card, {}, "", ""))
    config = {key: value for key, value in _mapping(_text(repo, _CONFIG)).items() if key in _SAID}
    adapter = _mapping(_text(repo, _ADAPTER))
    base = adapter.get("base_model_name_or_path")
    if isinstance(base, str) and base and "base_model" not in card:
        card = {**card, "base_model": base}
    task = str(card.get("pipeline_tag") or "") or _task(config)
    library = str(card.get("library_name") or "") or _library(repo, config, adapter)
    return Facts(card, config, _tags(repo, card, config, task, library), task, library, _weights(repo))


def _text(repo: Repo, path: str) -> str:
    entry = repo.entries.get(path)
    if entry is None or entry.size > _SMALL:
        return ""
    try:
        return entry.place().read_text(encoding="utf-8-sig", errors="replace")
    except (OSError, UserErrorException):
        return ""


def _front_matter(text: str) -> dict[str, Any]:
    found = _FRONT.match(text)
    try:
        data = yaml.safe_load(found[1]) if found else None
        # Dates and the like are no JSON.
        return json.loads(json.dumps(data, default=str)) if isinstance(data, dict) else {}
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return {}


def _mapping(text: str) -> Mapping[str, Any]:
    try:
        data = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _tags(repo: Repo, card: Mapping[str, Any], config: Mapping[str, Any], task: str, library: str) -> tuple[str, ...]:
    formats = [name for name in ("safetensors", "gguf", "onnx") if any(p.endswith("." + name) for p in repo.entries)]
    named = [
        *repo.labels, library, *formats, str(config.get("model_type") or ""), task,
        *_words(card.get("tags")), *_words(card.get("language")),
        *(f"license:{word}" for word in _words(card.get("license"))),
        *(f"base_model:{word}" for word in _words(card.get("base_model"))),
        *(f"dataset:{word}" for word in _words(card.get("datasets"))),
    ]  # fmt: skip
    return tuple(dict.fromkeys(tag for tag in named if tag))


def _words(value: Any) -> list[str]:
    return [str(word) for word in (value if isinstance(value, list) else [value]) if isinstance(word, str) and word]


def _task(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else ""
    return next((task for end, task in _TASKS if name.endswith(end)), "")


def _library(repo: Repo, config: Mapping[str, Any], adapter: Mapping[str, Any]) -> str:
    if adapter:
        return "peft"
    if "modules.json" in repo.entries:
        return "sentence-transformers"
    return "transformers" if config else ""


def _weights(repo: Repo) -> dict[str, Any]:
    files = {path: repo.entries[path] for path in weight_files(repo.entries)}
    if not files:
        return {}

    def read(name: str, start: int, end: int) -> bytes:
        return _part(files[name], start, end)

    try:
        counted = read_weights({name: entry.size for name, entry in files.items()}, read)
    except (OSError, UserErrorException):
        return {}
    numbers = dict(counted.numbers)
    return {"parameters": numbers, "total": sum(numbers.values())} if numbers else {}


def _part(entry: Entry, start: int, end: int) -> bytes:
    path: Path = entry.place()
    with path.open("rb") as file:
        file.seek(start)
        return file.read(end - start)
