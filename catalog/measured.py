"""What models really took when they were loaded here, kept beside what was predicted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from promptflow.workspace import Workspace
from promptflow.workspace.atomic import write_whole
from promptflow.workspace.clock import now_text

FOLDER = "measured"
KEPT = 20  # loads of one model


@dataclass(frozen=True)
class Measured:
    """One load: bytes of ``weights`` and ``cache`` as the engine reports them, and the ``peak`` of its process or GPU
    (0: not known), with the context that it was given. ``when`` is ISO 8601."""

    model: str
    engine: str
    device: str
    dtype: str
    weights: int
    cache: int
    peak: int = 0
    context: int = 0
    concurrency: int = 0
    when: str = ""


def keep_measured(workspace: Workspace, load: Measured) -> None:
    """Add one load, the newest last; the oldest of a model go."""
    loads = [asdict(one) for one in measured(workspace, load.model)][-(KEPT - 1) :]
    loads.append(asdict(load) | {"when": load.when or now_text()})
    write_whole(_file(workspace, load.model), json.dumps(loads, indent=1).encode())


def measured(workspace: Workspace, model: str) -> list[Measured]:
    """The loads of a model, the oldest first. A file that cannot be read counts as none."""
    try:
        loads = json.loads(_file(workspace, model).read_bytes())
    except (OSError, ValueError):
        return []
    return list(_sane(loads)) if isinstance(loads, list) else []


def highest(loads: Sequence[Measured]) -> list[Measured]:
    """Of each engine, device and dtype the last load, with the highest peak that any of them had."""
    found: dict[tuple[str, str, str], Measured] = {}
    for load in loads:
        way = (load.engine, load.device, load.dtype)
        found[way] = replace(load, peak=max(load.peak, found[way].peak if way in found else 0))
    return list(found.values())


def _sane(loads: list[Any]) -> Iterator[Measured]:
    names = {field.name for field in fields(Measured)}
    for load in loads:
        if isinstance(load, dict) and names == load.keys():
            yield Measured(**load)


def _file(workspace: Workspace, model: str) -> Path:
    return workspace.home / FOLDER / f"{sha256(model.encode()).hexdigest()[:24]}.json"
