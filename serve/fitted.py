"""What loads took, written down beside what `pf catalog fit` predicts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from catalog.measured import Measured, keep_measured
from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace
from serve.engines import BUILTIN
from serve.engines.base import Engine
from serve.engines.kinds import kind_of
from serve.served import Served

logger = logging.getLogger(__name__)

ELSEWHERE = ("vllm", "remote")  # engines whose memory is another process's


class Fitted:
    """Hears of the models that a router loads. The first one has the process's peak to itself."""

    def __init__(self, workspace: Callable[[], Workspace]) -> None:
        self.workspace = workspace
        self._first = True

    def __call__(self, served: Served, engine: Engine) -> None:
        name, first = fit_name(served), self._first
        self._first = False
        if not name or served.folder is None:
            return
        try:
            keep(self.workspace(), name, served.kind or kind_of(served.folder), engine, with_peak=first)
        except UserErrorException as error:  # a workspace that cannot be written is no reason not to serve
            logger.warning("what %s took is not kept: %s", name, error)


def fit_name(served: Served) -> str:
    """What `pf catalog fit` calls the model: its id, NAME:VERSION or folder; empty of what it does not tell of."""
    kind, _, name = served.asset.partition(":")
    if kind or served.folder is None:
        return name
    return "" if served.folder.is_relative_to(BUILTIN) else str(served.folder.absolute())


def keep(workspace: Workspace, name: str, kind: str, engine: Engine, *, with_peak: bool) -> None:
    """Write down what an engine takes now; nothing where it cannot tell. ``with_peak``: all that this process, or the
    GPU, took is this model's."""
    stats = engine.stats()
    device = "cpu" if stats.device in ("", "cpu") else "gpu"
    peak = peak_bytes(device) if with_peak and kind not in ELSEWHERE else 0
    if stats.weights_bytes:
        load = Measured(
            name, kind, device, stats.dtype, stats.weights_bytes, stats.cache_bytes, peak, engine.context, 1
        )
        keep_measured(workspace, load)


def peak_bytes(device: str) -> int:
    """Of this process, or of the GPU that torch used; 0 where that is not told."""
    if device == "gpu":
        import torch  # it is loaded already

        return int(torch.cuda.max_memory_reserved())
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0")
    return int(line.split()[1]) * 1024
