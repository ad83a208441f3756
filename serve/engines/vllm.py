"""A model in a vLLM of its own environment and process: what requests see of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from catalog.machine import Machine
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace import Workspace
from serve.engines.base import Engine, Piece, Request, Scores, Stats, UnsupportedError, Vectors
from serve.engines.kinds import task_of
from serve.engines.vllm_chat import sendable, specials_of, within
from serve.engines.vllm_flags import Asked, Lora, check
from serve.engines.vllm_server import VllmServer
from serve.installs import Install, Installs

START_SECONDS = 900.0  # large models are read from slow disks


class VllmEngine(Engine):
    """``context``, ``concurrency``: tokens of a request and requests at once that are planned for; 0 is as many as fit.
    ``lora_slots`` and ``lora_rank`` make room for adapters from the start, without which the server starts again when
    the first one is loaded. ``sleep``: whether its memory can be given back for a while (on a GPU). ``start_seconds``
    are given to it to get ready. Other options are vLLM's own flags, such as ``max_num_seqs``.

    When the process dies, requests in the works fail, and it is started again, once.
    """

    def __init__(
        self,
        model: str,
        folder: Path,
        *,
        context: int = 0,
        concurrency: int = 0,
        lora_slots: int = 0,
        lora_rank: int = 16,
        sleep: bool = True,
        start_seconds: float = START_SECONDS,
        install: str = "",
        workspace: Workspace | None = None,
        machine: Machine | None = None,
        **flags: Any,
    ) -> None:
        super().__init__(model)
        check(flags)
        self.folder = folder.absolute()
        self.task = task_of(folder)
        self._wanted_install, self._machine = install, machine
        self._workspace = workspace or Workspace.open()
        self._specials: tuple[str, ...] = ()
        self._server = VllmServer(
            model,
            self.folder,
            self.task,
            Asked(context, concurrency, sleep, flags),
            Lora(lora_slots, lora_rank),
            self._workspace.processes,
            machine,
            start_seconds,
        )

    @property
    def context(self) -> int:  # type: ignore[override] # of the newest server: one with more adapters may have less
        return self._server.context

    @property
    def adapters(self) -> tuple[str, ...]:
        return self._server.adapters

    def expect(self, adapters: Sequence[Path]) -> None:
        self._server.expect(adapters)

    def load(self) -> None:
        install = self._find_install()
        self._specials = specials_of(self.folder)
        self.tasks = frozenset({self.task if self.task in ("embed", "rerank") else "generate"})
        self.inputs = frozenset({"text", "image"} if self.task == "see" else {"text"})
        self._server.start(install)

    async def generate(self, request: Request) -> AsyncIterator[Piece]:
        request = self._checked(request)
        async with self._server.used(request.adapter) as (remote, called):
            sampling = within(request.sampling, remote.context)
            answer = remote.generate(replace(request, adapter=called, sampling=sampling))
            async with aclosing(cast(AsyncGenerator[Piece, None], answer)) as pieces:
                async for piece in pieces:
                    yield piece

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Vectors:
        if self.task != "embed":
            raise UnsupportedError(f"The model '{self.model}' makes no embeddings.")
        async with self._server.used() as (remote, _):
            return await remote.embed(texts)

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        if self.task not in ("embed", "rerank"):
            raise UnsupportedError(f"The model '{self.model}' does not rank documents.")
        async with self._server.used() as (remote, _):
            return await remote.rerank(query, documents)

    def load_adapter(self, name: str, folder: Path) -> None:
        if name == self.model:
            raise ValidationException(f"'{name}' is the model's own name.", hint="call the adapter something else")
        self._server.load_adapter(name, folder)

    def unload_adapter(self, name: str) -> None:
        self._server.unload_adapter(name)

    def stats(self) -> Stats:
        return self._server.stats()

    def sleep(self) -> bool:
        return self._server.sleep()

    def wake(self) -> None:
        self._server.wake()

    def unload(self) -> None:
        self._server.stop()

    def _find_install(self) -> Install:
        installs = Installs.of(self._workspace)
        if self._wanted_install:
            return installs.get(self._wanted_install)
        machine = self._machine or Machine.here()
        found = installs.best("vllm", bool(machine.gpus))
        if found is None:
            what = "" if machine.gpus else " --cpu"
            kind = "with a GPU" if machine.gpus else "without a GPU"
            raise UserErrorException(
                f"vLLM for a machine {kind} is not installed.", hint=f"pf engine install vllm{what}"
            )
        return found

    def _checked(self, request: Request) -> Request:
        """The request as it may be sent on. UnsupportedError."""
        if "generate" not in self.tasks:
            raise UnsupportedError(f"The model '{self.model}' generates no text.")
        calls = bool(self._server.flags.get("tool_call_parser"))
        return sendable(request, self.model, self.inputs, self._specials, calls)
