"""`Facts`: what is known of a model without loading it, from its files on a hub, in the cache or in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from catalog.configs import ConfigError
from catalog.exports import onnx_name
from catalog.formats import check_names
from catalog.gguf import GGUF, read_gguf
from catalog.headers import BUDGET, Reader, read_weights
from catalog.hub import Hub
from catalog.local import LocalModels, NotPulledError
from catalog.weights import Weights, unread, weight_files
from promptflow.exceptions import ValidationException
from promptflow.workspace.atomic import file_error

CONFIG = "config.json"
LONGEST_CONFIG = 1 << 20  # bytes
# Weights in forms that no engine reads, and what they are called.
UNREAD = ((".bin", "pickles"), (".pt", "pickles"), (".pth", "pickles"), (".ckpt", "pickles"), (GGUF, "GGUF"),
          (".h5", "HDF5"), (".msgpack", "MessagePack"))  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """``revision`` is a commit, empty of a folder. ``onnx``: bytes of an exported model; ``onnx_first``: engines take
    that, whatever else there is. ``read``: bytes that it took to know this. ``folder`` is where the files are, None
    where they are not on this machine."""

    name: str
    revision: str
    config: Mapping[str, Any]
    weights: Weights | None
    onnx: int = 0
    onnx_first: bool = False
    read: int = 0
    folder: Path | None = None

    @property
    def measured_as(self) -> str:
        """What its measured loads are kept by: a folder by its whole path, however it was written."""
        plain = self.folder is not None and not self.revision and Path(self.name).expanduser().exists()
        return os.path.abspath(os.path.expanduser(self.name)) if plain else self.name


def facts_of(name: str, revision: str | None = None, *, hub: Hub, local: LocalModels | None = None) -> Facts:
    """Of a folder, a GGUF file, a pulled model, or one on the hub that ``name`` is the id of."""
    path = Path(name).expanduser()
    if path.is_file() or path.is_dir():
        return facts_of_folder(path)
    try:
        found = (local or LocalModels()).get(name, revision)
    except (NotPulledError, ValidationException):
        return facts_of_hub(name, revision, hub)
    sizes = {file.name: file.size for file in found.files}
    paths = {file.name: file.path for file in found.files}
    if not _loadable(sizes):  # the weights were not pulled, or not all
        return facts_of_hub(name, found.sha, hub)
    return _facts(
        found.id, found.sha, sizes, lambda file, start, end: _read(paths[file], start, end), folder=found.folder
    )


def facts_of_folder(path: Path) -> Facts:
    """Of a folder in the layout of transformers, or of one GGUF file."""
    folder = path if path.is_dir() else path.parent
    files = [one for one in sorted(folder.rglob("*")) if one.is_file()] if path.is_dir() else [path]
    sizes = {one.relative_to(folder).as_posix(): one.stat().st_size for one in files}
    return _facts(str(path), "", sizes, lambda file, start, end: _read(folder / file, start, end), folder=folder)


def facts_of_hub(id: str, revision: str | None, hub: Hub) -> Facts:
    """At most BUDGET bytes of weights, and the config."""
    info = hub.model(id, revision)
    check_names(info.files)
    sizes = {file.name: file.size or 0 for file in info.files}
    sha = info.sha or revision or "main"

    def read(file: str, start: int, end: int) -> bytes:
        return hub.read_range(info.id, sha, file, start, end)

    return _facts(info.id, info.sha, sizes, read, info.dtypes)


def _facts(
    name: str,
    revision: str,
    sizes: Mapping[str, int],
    read: Reader,
    dtypes: Mapping[str, int] | None = None,
    folder: Path | None = None,
) -> Facts:
    spent = [0]

    def counted(file: str, start: int, end: int) -> bytes:
        data = read(file, start, end)
        spent[0] += len(data)  # a list's item: threads add to it, and one lost count would not matter
        return data

    if CONFIG not in sizes:
        if model := _gguf(sizes):
            told = read_gguf(model, sizes[model], counted)
            return Facts(name, revision, told.config, told.weights, read=spent[0], folder=folder)
        raise _no_model(name, sizes, counted)
    config = _config(counted(CONFIG, 0, max(1, min(sizes[CONFIG] or LONGEST_CONFIG, LONGEST_CONFIG))), name)
    weights = _weights(sizes, counted, dtypes, BUDGET - spent[0])
    # Of a folder with both, engines take the export that lies at its top; a pull takes the weights alone.
    first = bool(onnx_name(sizes)) and (weights is None or folder is not None and "/" not in onnx_name(sizes))
    return Facts(name, revision, config, weights, _onnx(sizes), first, spent[0], folder)


def _weights(sizes: Mapping[str, int], read: Reader, dtypes: Mapping[str, int] | None, budget: int) -> Weights | None:
    files = weight_files(sizes)
    if files:
        return read_weights({file: sizes[file] for file in files}, read, budget, dtypes)
    for ending, form in UNREAD:
        found = [size for file, size in sizes.items() if file.endswith(ending) and "/" not in file]
        if found:
            stored = sizes[_gguf(sizes)] if ending == GGUF else sum(found)
            return Weights(stored, False, unread=unread(form))
    return None if onnx_name(sizes) else Weights(0, False, unread="it has no weights")


def _onnx(sizes: Mapping[str, int]) -> int:
    """Bytes of the export that an engine would take, with the files beside it that hold its tensors."""
    name = onnx_name(sizes)
    beside = (f"{name}_", f"{name}.")
    return sum(size for file, size in sizes.items() if file == name or file.startswith(beside)) if name else 0


def _gguf(sizes: Mapping[str, int]) -> str:
    """The GGUF file to look at: the smallest of 4 bits or more that a repository of several offers, or the only one."""
    found = sorted((size, file) for file, size in sizes.items() if file.endswith(GGUF) and "mmproj" not in file)
    usual = [file for _, file in found if "q4_k_m" in file.lower() or "q4_0" in file.lower()]
    return (usual or [file for _, file in found] or [""])[0]


def _config(data: bytes, name: str) -> dict[str, Any]:
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The config.json of {name} is no JSON: {error}.") from error
    if not isinstance(config, dict):
        raise ConfigError(f"The config.json of {name} holds no object.")
    return config


def _no_model(name: str, sizes: Mapping[str, int], read: Callable[[str, int, int], bytes]) -> ValidationException:
    if "adapter_config.json" in sizes:
        told = _config(read("adapter_config.json", 0, LONGEST_CONFIG), name)
        base = str(told.get("base_model_name_or_path") or "its base model")[:200]
        return ValidationException(f"{name} is an adapter, no model.", hint=f"pf catalog fit {base} --adapters 1")
    if "model_index.json" in sizes:
        return ValidationException(f"{name} is a model of several parts, for images; no engine here runs it.")
    return ValidationException(f"{name} has no config.json and no GGUF file.", hint="is it a language model?")


def _loadable(sizes: Mapping[str, int]) -> bool:
    """All of the weights are there, as far as their names tell."""
    files = weight_files(sizes)
    last = PurePosixPath(files[-1]).stem.rpartition("-of-")[2] if files else ""
    return bool(_gguf(sizes) or _onnx(sizes) or files) and (not last.isdigit() or int(last) == len(files))


def _read(path: Path, start: int, end: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)
    except OSError as error:
        raise file_error("read", path, error) from error
