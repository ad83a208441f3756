"""What the vLLM servers of one model do, and did since the first of them."""

from __future__ import annotations

from dataclasses import replace

from serve.engines.base import Stats
from serve.engines.vllm_control import Load
from serve.engines.vllm_flags import Start
from serve.engines.vllm_process import VllmProcess


class Figures:
    """One server after the other is counted. Not locked: whoever changes the server does, too, what changes this."""

    def __init__(self) -> None:
        self._load = Load()  # with what servers did that are gone
        self._before = Load()  # only theirs
        self._weights = self._cache = 0

    def begin(self, process: VllmProcess) -> None:
        self._weights, self._cache = process.memory()

    def read(self, load: Load) -> None:
        """``load`` is what the present server tells."""
        self._load = _together(load, self._before)

    def end(self) -> None:
        self._load = self._before = replace(self._load, running=0, waiting=0, cache_used=0.0)

    def stats(self, start: Start | None, device: str) -> Stats:
        load = self._load
        return Stats(
            running=load.running,
            waiting=load.waiting,
            finished=load.finished,
            failed=load.failed,
            prompt_tokens=load.prompt_tokens,
            completion_tokens=load.completion_tokens,
            weights_bytes=self._weights or (start.weights if start is not None else 0),
            cache_bytes=self._cache,
            cache_used=load.cache_used,
            device=device,
            dtype=str(start.flags.get("dtype", "") if start is not None else ""),
        )


def _together(load: Load, before: Load) -> Load:
    return replace(
        load,
        finished=before.finished + load.finished,
        failed=before.failed + load.failed,
        prompt_tokens=before.prompt_tokens + load.prompt_tokens,
        completion_tokens=before.completion_tokens + load.completion_tokens,
    )
