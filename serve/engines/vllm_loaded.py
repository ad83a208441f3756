"""The adapters of a vLLM server: which it has, what it calls each, and how they get there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from promptflow.exceptions import ValidationException
from serve.engines.base import EngineFailedError
from serve.engines.vllm_adapters import Adapter, adapter_rank, write_zeros
from serve.engines.vllm_control import Refused, Unreachable
from serve.engines.vllm_flags import Lora
from serve.engines.vllm_process import VllmProcess

MOST_SLOTS = 8  # for adapters that are told of; more take turns


class Loaded:
    """Those of one model, in whatever process runs it: a new one is given all of them by `put_all`. ``room`` is what a
    process is started with, ``base`` what it calls the adapter of requests that name none. Not locked: one at a time
    changes it, who also changes the process.
    """

    def __init__(self, model: str, room: Lora) -> None:
        self.model, self.room, self.base = model, room, ""
        self._adapters: dict[str, Adapter] = {}  # by the name that requests use
        self._number = 0

    def expect(self, folders: Sequence[Path]) -> None:
        """Room for these, from the next start."""
        for folder in folders:
            self.room = self.room.with_rank(adapter_rank(folder))
        if folders:
            self.room = replace(self.room, slots=max(self.room.slots, min(len(folders), MOST_SLOTS)))

    def numbered(self, name: str, folder: Path, rank: int) -> Adapter:
        """The adapter under a name that the server has not heard before: who uses the one before keeps it."""
        self._number += 1
        return Adapter(folder.absolute(), rank, f"{name}~{self._number}")

    def put(self, process: VllmProcess, name: str, adapter: Adapter) -> None:
        _put(process, adapter)
        self._adapters[name] = adapter

    def put_all(self, process: VllmProcess, zeros: bool) -> None:
        """Into a process that was just started."""
        adapters = list(self._adapters.values())
        if adapters and zeros:
            self.put_zeros(process, adapters[0])
        for adapter in adapters:
            _put(process, adapter)

    def put_zeros(self, process: VllmProcess, like: Adapter) -> None:
        """On a processor the base model's requests need an adapter of zeros, before any other adapter is there: in a
        batch with others vLLM would give them the last one of those (https://github.com/vllm-project/vllm/pull/48421).
        """
        zeros = Adapter(write_zeros(like.folder, process.place / "zeros"), like.rank, f"{self.model}~0")
        try:
            _put(process, zeros)
        except ValidationException:
            return  # it will refuse the other one as well, and say why
        self.base = zeros.called

    def forget(self, name: str) -> None:
        """The next process will not have it."""
        self._adapters.pop(name, None)


def _put(process: VllmProcess, adapter: Adapter) -> None:
    body = {"lora_name": adapter.called, "lora_path": str(adapter.folder)}
    try:
        process.control.post("/v1/load_lora_adapter", body)
    except Refused as error:
        raise ValidationException(f"vLLM does not take the adapter in {adapter.folder}: {error.words}") from error
    except Unreachable as error:
        raise EngineFailedError(f"vLLM died while it read the adapter in {adapter.folder}.") from error
