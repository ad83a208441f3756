"""A worker process: does what its setup says, message by message, until its parent closes the line.

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
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from promptflow.exceptions import PromptflowException, UserErrorException
from promptflow.executor import wire
from promptflow.executor.output import routed_output
from promptflow.llm.pressure import watching
from promptflow.tracing.spans import run_context

if TYPE_CHECKING:
    from promptflow.tape.handover import Handover

BOOT = "import sys; sys.path.append(sys.argv[2]); from promptflow.executor.worker import main; main(int(sys.argv[1]))"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a worker is told first. ``memory_limit``: bytes; ``context``: attributes of its spans."""

    path: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    memory_limit: int | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    log_level: int = logging.WARNING
    tape: Handover | None = None

    def load(self, stack: ExitStack, channel: Channel) -> Service:
        """Load what the messages are about; what has to be undone at the end is for ``stack``."""
        raise NotImplementedError


class Service:
    """What a worker does."""

    def take(self, message: tuple[Any, ...]) -> None:
        """Start what a message asks for; do not wait for it."""
        raise NotImplementedError

    def soon(self, call: Callable[[], None]) -> None:
        """Call where the code that it runs gets its turns."""
        call()


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

    def waits(self, number: int) -> Callable[[float], None]:
        """Told for how many seconds the limits of a connection make a request wait, it tells the parent."""
        return lambda seconds: self.send("wait", number, seconds)


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
    _settle(setup)
    with ExitStack() as stack:
        try:
            if setup.tape is not None:
                from promptflow.tape.use import taken_over  # few runs have one

                stack.enter_context(taken_over(setup.tape))
            service = setup.load(stack, channel)
        except BaseException as error:
            channel.send("failed", _sendable(error))
            os._exit(1)
        stack.enter_context(run_context(**setup.context))
        stack.enter_context(routed_output())
        stack.enter_context(watching(lambda *told: channel.send("throttled", *told)))
        logging.getLogger("promptflow").addHandler(_LogSender(channel))
        logging.getLogger("promptflow").setLevel(setup.log_level)
        channel.send("ready")
        _serve(stream, service, channel)


def _serve(stream: Any, service: Service, channel: Channel) -> None:
    while (message := wire.read(stream)) is not None:
        match message:
            case ("ping",):
                service.soon(lambda: channel.send("pong"))
            case ("end",):
                return
            case _:
                service.take(message)
    os._exit(0)


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


def _settle(setup: Setup) -> None:
    os.environ.clear()
    os.environ.update(setup.environment)
    time.tzset()
    sys.path[:] = setup.path
    _limit_memory(setup.memory_limit)


def _limit_memory(limit: int | None) -> None:
    """At most ``limit`` bytes of data; what asks for more gets a MemoryError."""
    if limit is None:
        return
    # On Linux the data limit counts what is really writable; the address space holds much more that is never used.
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    _, most = resource.getrlimit(kind)
    limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(kind, (limit, limit))
