"""``python -m serve.engines.measure NAME FOLDER``: load a model, let it answer once, and keep what that took."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace
from serve.engines import open_engine
from serve.engines.base import Engine, Request, Sampling
from serve.engines.kinds import kind_of
from serve.fitted import keep

WORDS = "One two three four five six seven eight. " * 8


def main(name: str, folder: Path) -> int:
    kind = kind_of(folder)
    engine = open_engine(name, kind, folder)
    engine.load()
    try:
        asyncio.run(_answer(engine))
        keep(Workspace.open(), name, kind, engine, with_peak=True)
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


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], Path(sys.argv[2])))
    except UserErrorException as error:
        sys.exit(f"error: {error}")
