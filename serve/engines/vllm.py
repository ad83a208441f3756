"""A model in a vLLM of its own environment and process, which is started, watched and stopped here."""

from __future__ import annotations

import http.client
import logging
import secrets
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from catalog.machine import Machine
from promptflow.exceptions import PromptflowException, UserErrorException, ValidationException
from promptflow.workspace import Workspace
from serve.engines.base import (
    Engine,
    EngineClosedError,
    EngineFailedError,
    Piece,
    Request,
    Sampling,
    Scores,
    Stats,
    UnsupportedError,
    Vectors,
)
from serve.engines.kinds import task_of
from serve.engines.remote import RemoteEngine
from serve.engines.remote_errors import RemoteError
from serve.engines.vllm_adapters import Adapter, adapter_rank, write_zeros
from serve.engines.vllm_chat import check_parts, forced, safe_messages, specials_of
from serve.engines.vllm_control import Load, Refused, load_of
from serve.engines.vllm_flags import Asked, Lora, Start, check, start_for
from serve.engines.vllm_process import VllmProcess
from serve.engines.vllm_users import Users
from serve.installs import Install, Installs

START_SECONDS = 900.0  # large models are read from slow disks
LOOK_SECONDS = 0.25  # between two looks whether it lives
METRICS_SECONDS = 2.0
RESTARTS = 1  # after it died; the next time the router makes a new engine, which may have more memory by then
MOST_SLOTS = 8  # for adapters that are told of; more take turns

logger = logging.getLogger(__name__)


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
        self.asked = Asked(context, concurrency, sleep, flags)
        self.start_seconds = start_seconds
        self._lora = Lora(lora_slots, lora_rank)
        self._wanted_install, self._machine = install, machine
        self._workspace = workspace or Workspace.open()
        self._users: Users[RemoteEngine] = Users(model)
        self._loaded: dict[str, Adapter] = {}  # by the name that requests use
        self._number = 0
        self._base = ""  # what the server calls the adapter of requests that name none
        self._process: VllmProcess | None = None
        self._remote: RemoteEngine | None = None
        self._start: Start | None = None
        self._install: Install | None = None
        self._memory = (0, 0)
        self._load = Load()
        self._before = Load()  # what servers did that are gone
        self._closed = self._asleep = False
        self._deaths = 0
        self._change = threading.RLock()  # one change of the server at a time
        self._look = threading.Event()
        self._watcher: threading.Thread | None = None
        self._specials: tuple[str, ...] = ()

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(self._users.names)

    def expect(self, adapters: Sequence[Path]) -> None:
        for folder in adapters:
            self._lora = self._lora.with_rank(adapter_rank(folder))
        if adapters:
            self._lora = replace(self._lora, slots=max(self._lora.slots, min(len(adapters), MOST_SLOTS)))

    def load(self) -> None:
        self._closed, self._asleep, self._deaths = False, False, 0
        self._install = self._find_install()
        self._specials = specials_of(self.folder)
        self.tasks = frozenset({self.task if self.task in ("embed", "rerank") else "generate"})
        self.inputs = frozenset({"text", "image"} if self.task == "see" else {"text"})
        with self._change:
            self._begin()
        self._look.clear()
        self._watcher = threading.Thread(target=self._watch, name=f"vllm {self.model}", daemon=True)
        self._watcher.start()

    async def generate(self, request: Request) -> AsyncIterator[Piece]:
        request = self._checked(request)
        async with self._users.server(request.adapter) as (remote, called):
            with self._noticed():
                answer = cast(
                    AsyncGenerator[Piece, None], remote.generate(replace(request, adapter=called or self._base))
                )
                async with aclosing(answer) as pieces:
                    async for piece in pieces:
                        yield piece

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Vectors:
        if self.task != "embed":
            raise UnsupportedError(f"The model '{self.model}' makes no embeddings.")
        async with self._users.server() as (remote, _):
            with self._noticed():
                return await remote.embed(texts)

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        if self.task not in ("embed", "rerank"):
            raise UnsupportedError(f"The model '{self.model}' does not rank documents.")
        async with self._users.server() as (remote, _):
            with self._noticed():
                return await remote.rerank(query, documents)

    def load_adapter(self, name: str, folder: Path) -> None:
        if name == self.model:
            raise ValidationException(f"'{name}' is the model's own name.", hint="call the adapter something else")
        rank = adapter_rank(folder)
        with self._change:
            self._must_be_loaded()
            self._number += 1
            adapter = Adapter(folder.absolute(), rank, f"{name}~{self._number}")
            if not self._lora.holds(rank):
                self._make_room(rank)
            if not self._base:
                self._put_base(adapter)
            self._put(adapter)
            self._loaded[name] = adapter
            before = self._users.name(name, adapter.called)
        if before is not None:
            self._retire(before)

    def unload_adapter(self, name: str) -> None:
        with self._change:
            called = self._users.unname(name)
            self._loaded.pop(name, None)
        self._retire(called)

    def stats(self) -> Stats:
        load, before = self._load, self._before
        flags: Mapping[str, Any] = self._start.flags if self._start is not None else {}
        return Stats(
            running=load.running,
            waiting=load.waiting,
            finished=before.finished + load.finished,
            failed=before.failed + load.failed,
            prompt_tokens=before.prompt_tokens + load.prompt_tokens,
            completion_tokens=before.completion_tokens + load.completion_tokens,
            weights_bytes=self._memory[0] or (self._start.weights if self._start is not None else 0),
            cache_bytes=self._memory[1],
            cache_used=load.cache_used,
            device="cuda" if self._on_gpu else "cpu",
            dtype=str(flags.get("dtype", "")),
        )

    def sleep(self) -> bool:
        """The weights go to main memory, if they fit in there, and the cache is given up."""
        with self._change:
            if not self._can_sleep():
                return False
            assert self._process is not None and self._remote is not None
            self._users.pause()
            try:
                self._process.control.post("/sleep?level=1")
            except (OSError, http.client.HTTPException, Refused) as error:
                logger.warning("%s does not sleep: %s", self.model, error)
                self._users.open(self._remote)
                self._look.set()
                return False
            self._asleep = True
            return True

    def wake(self) -> None:
        with self._change:
            process, remote = self._process, self._remote
            if process is None or remote is None or not process.alive:
                raise EngineClosedError(f"The model '{self.model}' ended while it slept.")
            try:
                process.control.post("/wake_up")
            except (OSError, http.client.HTTPException, Refused) as error:
                raise EngineFailedError(f"The model '{self.model}' does not wake up: {error}") from error
            self._asleep = False
            self._users.open(remote)

    def unload(self) -> None:
        self._closed = True
        self._users.shut(self._gone())
        self._look.set()
        if self._remote is not None:
            self._remote.unload()
        process = self._process
        if process is not None:
            process.stop()  # before the lock: whoever holds it may wait for the server
        with self._change:
            self._end()
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()
        self._watcher = None

    @contextmanager
    def _noticed(self) -> Iterator[None]:
        """What may be its death makes us look. Before it ends, its API server says that its engine has failed."""
        try:
            yield
        except EngineFailedError:
            self._look.set()
            raise
        except RemoteError as error:
            if error.http_status != 502:
                raise
            self._look.set()
            raise EngineFailedError(f"vLLM failed with '{self.model}': {error}", hint=self._logs) from error

    # -- the server ------------------------------------------------------------------------------------------------

    @property
    def _on_gpu(self) -> bool:
        return self._install is not None and self._install.device == "gpu"

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

    def _begin(self) -> None:
        """Start a server with the adapters that are loaded, and open for requests."""
        assert self._install is not None
        machine = self._machine or Machine.here()
        start = start_for(self.folder, self.task, self._on_gpu, machine, self.asked, self._lora)
        key = secrets.token_urlsafe(24)
        process = VllmProcess(self._workspace.processes, self._install, self.model, self.folder, start, key)
        self._start, self._process = start, process
        process.start(self.start_seconds)
        remote = RemoteEngine(self.model, f"unix://{process.socket}", key, dialect="vllm")
        try:
            remote.load()
            self._remote, self.context, self._memory = remote, remote.context, process.memory()
            adapters = list(self._loaded.values())
            if adapters and not self._on_gpu:
                self._base = self._put_zeros(adapters[0])
            for adapter in adapters:
                self._put(adapter)
        except BaseException:
            self._end()
            raise
        if self._closed:  # unloaded meanwhile
            self._end()
            raise self._gone()
        self._users.open(remote)

    def _put_base(self, like: Adapter) -> None:
        """On a processor the base model's requests need an adapter of zeros, before any other adapter is there: in a
        batch with others vLLM would give them the last one of those (https://github.com/vllm-project/vllm/pull/48421).
        """
        if self._on_gpu:
            return
        assert self._remote is not None
        self._users.pause()
        try:
            self._users.wait()
            self._base = self._put_zeros(like)
        finally:
            self._users.open(self._remote)

    def _put_zeros(self, like: Adapter) -> str:
        assert self._process is not None
        zeros = Adapter(write_zeros(like.folder, self._process.place / "zeros"), like.rank, f"{self.model}~0")
        try:
            self._put(zeros)
        except ValidationException:
            return ""  # it will refuse the other one as well, and say why
        return zeros.called

    def _end(self) -> None:
        self._base = ""
        process, self._process = self._process, None
        remote, self._remote = self._remote, None
        if process is not None and process.alive and not self._asleep:
            self._measure(process)  # what it did is counted with what the next one does
        if remote is not None:
            remote.unload()
        if process is not None:
            process.stop()
        load, before = self._load, self._before
        self._load = Load()
        self._before = Load(
            finished=before.finished + load.finished,
            failed=before.failed + load.failed,
            prompt_tokens=before.prompt_tokens + load.prompt_tokens,
            completion_tokens=before.completion_tokens + load.completion_tokens,
        )

    def _make_room(self, rank: int) -> None:
        """A server that takes adapters of this rank, once the requests of the present one are done."""
        lora = self._lora.with_rank(rank)
        lora.flags()  # says no before anything ends
        self._users.pause()
        self._users.wait()
        self._end()
        old, self._lora = self._lora, lora
        try:
            self._begin()
        except PromptflowException as error:
            self._lora = old
            self._users.shut(EngineClosedError(f"The model '{self.model}' did not start again: {error}"))
            raise

    def _put(self, adapter: Adapter) -> None:
        assert self._process is not None
        try:
            body = {"lora_name": adapter.called, "lora_path": str(adapter.folder)}
            self._process.control.post("/v1/load_lora_adapter", body)
        except Refused as error:
            raise ValidationException(f"vLLM does not take the adapter in {adapter.folder}: {error.words}") from error
        except (OSError, http.client.HTTPException) as error:
            self._look.set()
            raise EngineFailedError(f"vLLM died while it read the adapter in {adapter.folder}.") from error

    def _retire(self, called: str) -> None:
        """Forget an adapter that has no name any more, when nobody uses it."""
        self._users.wait(called)
        with self._change:
            process = self._process
            if process is None or not process.alive:
                return
            try:
                process.control.post("/v1/unload_lora_adapter", {"lora_name": called})
            except (OSError, http.client.HTTPException, Refused) as error:
                logger.warning("%s keeps the adapter %s: %s", self.model, called, error)

    def _can_sleep(self) -> bool:
        flags = self._start.flags if self._start is not None else {}
        process = self._process
        if not flags.get("enable_sleep_mode") or process is None or not process.alive or self._asleep:
            return False
        return (self._machine or Machine.here()).available > 1.1 * self.stats().weights_bytes

    def _must_be_loaded(self) -> None:
        if self._closed or self._process is None:
            raise self._gone()

    def _gone(self) -> EngineClosedError:
        return EngineClosedError(f"The model '{self.model}' is not loaded.")

    # -- in a thread of its own ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Until it is unloaded: does it live, and what does it do?"""
        since = 0.0
        while not self._closed:
            woken = self._look.wait(LOOK_SECONDS)
            self._look.clear()
            with self._change:
                process = self._process
                if self._closed or process is None:
                    continue
                if not process.alive:
                    self._died(process)
                    continue
            since = 0.0 if woken else since + LOOK_SECONDS
            if since >= METRICS_SECONDS and not self._asleep:
                since = 0.0
                self._measure(process)

    def _died(self, process: VllmProcess) -> None:
        words = process.last_words()
        logger.error("vLLM died with %s: %s", self.model, words)
        self._deaths += 1
        asleep = self._asleep
        self._users.pause()
        self._end()
        if asleep or self._deaths > RESTARTS:
            self._users.shut(EngineClosedError(f"vLLM died with '{self.model}', again.", hint=self._logs))
            return
        try:
            self._begin()
        except PromptflowException as error:
            self._users.shut(EngineClosedError(f"vLLM died with '{self.model}': {error}", hint=self._logs))

    def _measure(self, process: VllmProcess) -> None:
        try:
            self._load = load_of(process.control.get("/metrics", LOOK_SECONDS * 4).decode("utf-8", "replace"))
        except (OSError, http.client.HTTPException, Refused):
            pass  # busy, or about to be found dead

    @property
    def _logs(self) -> str:
        return f"pf engine logs {self.model}"

    def _checked(self, request: Request) -> Request:
        """The request as it may be sent on. UnsupportedError."""
        if "generate" not in self.tasks:
            raise UnsupportedError(f"The model '{self.model}' generates no text.")
        request = replace(request, sampling=self._within(request.sampling))
        if request.messages is None:
            return request
        flags = self._start.flags if self._start is not None else {}
        if request.tools and request.tool_choice == "auto" and not flags.get("tool_call_parser"):
            raise UnsupportedError(
                f"How '{self.model}' writes calls of tools is not known.",
                hint="--option tool_call_parser=NAME enable_auto_tool_choice=true, or a tool_choice",
            )
        check_parts(request.messages, self.model, self.inputs)
        messages = safe_messages(request.messages, self._specials)
        return replace(request, messages=messages, tools=forced(request.tools, request.tool_choice))

    def _within(self, sampling: Sampling) -> Sampling:
        """vLLM refuses to write more than the context holds; the other engines stop there."""
        if not self.context or sampling.max_tokens is None or sampling.max_tokens <= self.context:
            return sampling
        return replace(sampling, max_tokens=self.context)
