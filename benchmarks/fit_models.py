"""Published models as a hub has them, without their numbers: the config, and weights that are headers and holes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ARCHITECTURES = Path(__file__).parent.parent / "tests/catalog/architectures"
SHARD = 5_000_000_000  # bytes of tensors: as transformers saves them
_TYPES = {"bfloat16": ("BF16", 2), "float16": ("F16", 2), "float32": ("F32", 4)}

Tensor = tuple[str, tuple[int, ...]]


def pulled(name: str, cache: Path) -> tuple[str, int]:
    """Put the model into a cache as a pull would leave it: its id, and the bytes of its tensors."""
    config = json.loads((ARCHITECTURES / f"{name}.json").read_text())["config"]
    repo = cache / f"models--bench--{name}"
    sha = hashlib.sha1(name.encode()).hexdigest()
    for folder in (repo / "blobs", repo / "refs", repo / "snapshots" / sha):
        folder.mkdir(parents=True)
    (repo / "refs/main").write_text(sha)
    (repo / "snapshots" / sha / "config.json").write_text(json.dumps(config))
    kind, size = _TYPES[config.get("torch_dtype") or config.get("dtype") or "float32"]
    shards = list(_shards(list(_tensors(config)), size))
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else "model.safetensors"
        blob = repo / "blobs" / hashlib.sha256(f"{name}/{file}".encode()).hexdigest()
        _write(blob, shard, kind, size)
        (repo / "snapshots" / sha / file).symlink_to(f"../../blobs/{blob.name}")
    return f"bench/{name}", sum(math.prod(shape) * size for shard in shards for _, shape in shard)


def _tensors(config: dict[str, Any]) -> Iterator[Tensor]:
    """Names and shapes as transformers builds the model; experts one by one, as published files have them."""
    import torch
    import transformers

    plain = {key: value for key, value in config.items() if key != "quantization_config"}
    with torch.device("meta"):
        model = getattr(transformers, config["architectures"][0])(transformers.AutoConfig.for_model(**plain))
    for name, tensor in model.named_parameters():
        if ".experts." in name and tensor.ndim == 3:
            yield from ((name.replace(".experts.", f".experts.{at}."), tensor.shape[1:]) for at in range(len(tensor)))
        else:
            yield name, tensor.shape


def _shards(tensors: list[Tensor], size: int) -> Iterator[list[Tensor]]:
    shard, room = [], SHARD
    for name, shape in tensors:
        taken = math.prod(shape) * size
        if shard and taken > room:
            yield shard
            shard, room = [], SHARD
        shard.append((name, tuple(shape)))
        room -= taken
    yield shard


def _write(file: Path, tensors: list[Tensor], kind: str, size: int) -> None:
    header, at = {}, 0
    for name, shape in tensors:
        end = at + math.prod(shape) * size
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}, separators=(",", ":")).encode()
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        out.truncate(8 + len(text) + at)
