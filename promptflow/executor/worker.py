"""A worker process: loads a flow and runs the lines that it is sent, until its parent closes the line.

Started as ``python -P -c BOOT <descriptor> <folder of promptflow>``; nothing secret is on its command line or in the
environment that it is started with. It ends at once when its parent does.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from promptflow.contracts.run import LineResult, RunInfo
from promptflow.exceptions import PromptflowException, UserErrorException
from promptflow.executor import guarded, wire
from promptflow.executor.line import Attempt, now
from promptflow.executor.loader import Executor, load_again
from promptflow.executor.origin import Origin
from promptflow.executor.output import line_output, routed_output
from promptflow.executor.threads import pool
from promptflow.tracing.spans import run_context

BOOT = "import sys; sys.path.append(sys.argv[2]); from promptflow.executor.worker import main; main(int(sys.argv[1]))"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Setup:
    """What a worker is told first. ``memory_limit``: bytes; ``context``: attributes of its spans."""

    origin: Origin
    run_id: str
    path: tuple[str, ...] = ()
    line_timeout: float = 600.0
    memory_limit: int | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    log_level: int = logging.WARNING


def main(descriptor: int) -> None:
    """Serve the parent on this socket until it says end; leave at once when it is gone."""
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)  # processes that tools start must not keep it open
    _prepare_process()
    stream = connection.makefile("rb")
    message = wire.read(stream)
    if message is None:
        os._exit(0)
    setup: Setup = message[1]
    channel = Channel(connection)
    sys.path[:] = setup.path
    _limit_memory(setup.memory_limit)
    with ExitStack() as stack:
        try:
            executor = load_again(setup.origin)
            stack.enter_context(executor.activated())
        except BaseException as error:
            channel.send("failed", _sendable(error))
            os._exit(1)
        stack.enter_context(run_context(**setup.context))
        stack.enter_context(routed_output())
        logging.getLogger("promptflow").addHandler(_LogSender(channel))
        logging.getLogger("promptflow").setLevel(setup.log_level)
        channel.send("ready")
        lines = _LinesOnLoop if executor.prefers_async else _Lines
        lines(executor, setup, channel).serve(lambda: wire.read(stream))


class Channel:
    """The way back to the parent; usable from all threads."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, *message: Any, changed: str | None = None) -> None:
        """``changed``: what the message is called instead, where some value in it cannot travel as it is."""
        data, faithful = wire.pack(message)
        if not faithful and changed is not None:
            data, _ = wire.pack((changed, *message[1:]))
        with self._lock:
            try:
                self._connection.sendall(data)
            except OSError:  # the parent is gone
                os._exit(1)


class _Lines:
    """Runs each line as it comes, on a thread of its own."""

    def __init__(self, executor: Executor, setup: Setup, channel: Channel) -> None:
        self._executor = executor
        self._setup = setup
        self._channel = channel

    def serve(self, next_message: Callable[[], tuple[Any, ...] | None]) -> None:
        """Until there is no message, which ends the process, or until it is told to end."""
        while (message := next_message()) is not None:
            match message:
                case ("line", number, row, known):
                    self._start(number, row, known)
                case ("ping",):
                    self._soon(lambda: self._channel.send("pong"))
                case ("end",):
                    return
        os._exit(0)

    def _start(self, number: int, row: Mapping[str, Any], known: Mapping[str, RunInfo]) -> None:
        pool.submit(self._run, number, row, known)

    def _soon(self, call: Callable[[], None]) -> None:
        """Where the code of lines gets its turns."""
        call()

    def _run(self, number: int, row: Mapping[str, Any], known: Mapping[str, RunInfo]) -> None:
        attempt = _Attempt(self._channel, number, known)
        with line_output() as output:
            result = guarded.run_line(self._executor, number, row, self._setup.run_id, attempt.given)
        self._reply(number, row, result, output.text, attempt)

    def _reply(self, number: int, row: Mapping[str, Any], result: LineResult, printed: str, attempt: _Attempt) -> None:
        out_of_memory = _is_out_of_memory(result.exception)
        try:
            self._channel.send("line", number, attempt.left(result), printed, out_of_memory)
        except MemoryError as error:
            result = guarded.failed_line(self._executor, row, number, self._setup.run_id, error, now())
            result.exception = None
            self._channel.send("line", number, result, "", True)


class _LinesOnLoop(_Lines):
    """Runs lines as tasks of one event loop: for flows that wait for models."""

    def __init__(self, executor: Executor, setup: Setup, channel: Channel) -> None:
        super().__init__(executor, setup, channel)
        from promptflow.executor.guarded_async import run_line_async  # flows of plain Python need no event loop
        from promptflow.llm.background import LoopThread

        self._guarded = run_line_async
        self._loop = LoopThread("promptflow-lines")

    def _start(self, number: int, row: Mapping[str, Any], known: Mapping[str, RunInfo]) -> None:
        self._loop.submit(self._run_async(number, row, known))

    def _soon(self, call: Callable[[], None]) -> None:
        self._loop.loop.call_soon_threadsafe(call)

    async def _run_async(self, number: int, row: Mapping[str, Any], known: Mapping[str, RunInfo]) -> None:
        attempt = _Attempt(self._channel, number, known)
        executor, setup = self._executor, self._setup
        with line_output() as output:
            result = await self._guarded(executor, number, row, setup.run_id, attempt.given, setup.line_timeout)
        self._reply(number, row, result, output.text, attempt)


class _Attempt:
    """Tells the parent of the nodes of one line as they end."""

    def __init__(self, channel: Channel, number: int, known: Mapping[str, RunInfo]) -> None:
        self._channel = channel
        self._number = number
        self._sent = set(known)
        self.given = Attempt(known, self._ended)

    def _ended(self, info: RunInfo) -> None:
        self._channel.send("node", self._number, info, changed="changed node")
        self._sent.add(info.node)

    def left(self, result: LineResult) -> LineResult:
        """The result without what the parent has already, and without the error itself."""
        nodes = {name: info for name, info in result.node_run_infos.items() if name not in self._sent}
        return LineResult(result.output, result.aggregation_inputs, result.run_info, nodes)


class _LogSender(logging.Handler):
    """Hands what our loggers say to the parent, which knows the run's log."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        self._channel.send("log", record.name, record.levelno, record.getMessage())


def _sendable(error: BaseException) -> PromptflowException:
    if isinstance(error, PromptflowException):
        return error
    return UserErrorException(f"A worker process cannot load the flow: ({type(error).__name__}) {error}", error=error)


def _is_out_of_memory(error: BaseException | None) -> bool:
    for _ in range(16):  # an error may be its own cause
        if error is None or isinstance(error, MemoryError):
            break
        error = getattr(error, "inner_exception", None) or error.__cause__ or error.__context__
    return isinstance(error, MemoryError)


# -- the process ------------------------------------------------------------------------------------------------------
def _prepare_process() -> None:
    faulthandler.enable()  # a crash says where, on stderr, which the parent reads
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    if sys.platform == "linux":
        # A tool that holds the interpreter would keep it from seeing that its parent is gone.
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
                file.write("500")  # where memory runs out, a worker goes before its parent
        except OSError:
            return


def _limit_memory(limit: int | None) -> None:
    """At most ``limit`` bytes of data; what asks for more gets a MemoryError."""
    if limit is None:
        return
    # On Linux the data limit counts what is really writable; the address space holds much more that is never used.
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    _, most = resource.getrlimit(kind)
    limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(kind, (limit, limit))
