"""``python -m serve.engines.measure NAME FOLDER``: load a model, let it answer once, and keep what that took."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from catalog.measured import Measured, keep_measured
from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace
from serve.engines import open_engine
from serve.engines.base import Engine, Request, Sampling
from serve.engines.kinds import kind_of

WORDS = "One two three four five six seven eight. " * 8


def main(name: str, folder: Path) -> int:
    kind = kind_of(folder)
    engine = open_engine(name, kind, folder)
    engine.load()
    try:
        asyncio.run(_answer(engine))
        stats = engine.stats()
        device = "cpu" if stats.device in ("", "cpu") else "gpu"
        keep_measured(
            Workspace.open(),
            Measured(
                name,
                kind,
                device,
                stats.dtype,
                stats.weights_bytes,
                stats.cache_bytes,
                _peak(device),
                engine.context,
                1,
            ),  # fmt: skip
        )
    finally:
        engine.unload()
    return 0


async def _answer(engine: Engine) -> None:
    if "embed" in engine.tasks:
        await engine.embed([WORDS])
    elif "rerank" in engine.tasks:
        await engine.rerank("four", [WORDS])
    else:
        async for _ in engine.generate(Request(prompt=WORDS, sampling=Sampling(max_tokens=16))):
            pass


def _peak(device: str) -> int:
    """Bytes: of this process, or of the GPU that torch used; 0 where that is not told."""
    if device == "gpu":
        import torch  # it is loaded already

        return int(torch.cuda.max_memory_reserved())
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0")
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], Path(sys.argv[2])))
    except UserErrorException as error:
        sys.exit(f"error: {error}")
