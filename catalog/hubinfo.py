"""A model as a hub describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RepoFile:
    """A file of a model. ``blob_id`` is git's sha1 of it; ``sha256`` is known of large files only."""

    name: str
    size: int | None = None
    sha256: str | None = None
    blob_id: str | None = None

    @property
    def etag(self) -> str:
        """What the file is called in the cache: its sha256, or git's sha1; empty if the hub says neither."""
        return self.sha256 or self.blob_id or ""


@dataclass(frozen=True)
class ModelInfo:
    """A model at one commit. ``files`` is empty in search results.

    ``gated``: "" (open), "auto" or "manual". ``licence``, ``languages`` and ``card`` (its front matter) are the
    author's words. ``parameters`` is None where the hub does not know. ``updated`` is ISO 8601.
    """

    id: str
    sha: str = ""
    files: tuple[RepoFile, ...] = ()
    gated: str = ""
    licence: str = ""
    task: str = ""
    tags: tuple[str, ...] = ()
    library: str = ""
    downloads: int = 0
    likes: int = 0
    updated: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()
    parameters: int | None = None
    dtypes: Mapping[str, int] = field(default_factory=dict)
    gguf: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    private: bool = False

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size or 0 for file in self.files)


def model_info(found: Any) -> ModelInfo:
    """Ours of huggingface_hub's ModelInfo. What a server leaves out, or says in another shape, is empty."""
    tags = tuple(tag for tag in found.tags or () if isinstance(tag, str))
    card: dict[str, Any] = found.card_data.to_dict() if found.card_data is not None else {}
    weights = found.safetensors
    gguf = found.gguf if isinstance(found.gguf, dict) else {}
    return ModelInfo(
        id=found.id,
        sha=found.sha or "",
        files=tuple(_file(sibling) for sibling in found.siblings or ()),
        gated="" if not found.gated else str(found.gated),
        licence=_licence(card, tags),
        task=found.pipeline_tag or str(card.get("pipeline_tag") or ""),
        tags=tags,
        library=found.library_name or str(card.get("library_name") or ""),
        downloads=found.downloads or 0,
        likes=found.likes or 0,
        updated=found.last_modified.isoformat() if found.last_modified is not None else "",
        config=found.config if isinstance(found.config, dict) else {},
        languages=words(card.get("language")) or tuple(tag for tag in tags if len(tag) == 2),
        base_models=words(card.get("base_model"))
        or tuple(
            tag.removeprefix("base_model:") for tag in tags if tag.startswith("base_model:") and tag.count(":") == 1
        ),
        parameters=weights.total if weights is not None else _count(gguf.get("total")),
        dtypes=dict(weights.parameters) if weights is not None else {},
        gguf=gguf,
        card=card,
        private=bool(found.private),
    )


def words(value: Any) -> tuple[str, ...]:
    """A word or a list of words, as front matter has both."""
    if isinstance(value, str):
        return (value,)
    return tuple(word for word in value if isinstance(word, str)) if isinstance(value, list | tuple) else ()


def _file(sibling: Any) -> RepoFile:
    lfs = sibling.lfs
    return RepoFile(
        name=sibling.rfilename,
        size=_count(lfs.size if lfs is not None else sibling.size),
        sha256=lfs.sha256 if lfs is not None else None,
        blob_id=sibling.blob_id,
    )


def _licence(card: Mapping[str, Any], tags: tuple[str, ...]) -> str:
    named = card.get("license_name") if card.get("license") == "other" else card.get("license")
    tagged = next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), "")
    return ", ".join(words(named)) or tagged


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
