"""``python -m promptflow.serving.worker``: one of several processes that serve a flow on one port.

Its starter writes one line of JSON to its standard input, ``{"options": …, "socket": fd, "report": fd}``, and keeps
that open: when it ends, the worker ends too, however its starter came to die. What is private (the arguments of a
class, variables) goes this way, for the whole machine can read command lines.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from typing import Any

from promptflow.exceptions import UserErrorException
from promptflow.serving.options import ServeOptions
from promptflow.serving.process import run

FAILED_TO_LOAD = 3


def main() -> int:
    told = json.loads(sys.stdin.readline())
    report = int(told["report"])
    threading.Thread(target=_end_with_starter, daemon=True).start()
    try:
        run(ServeOptions(**told["options"]), socket.socket(fileno=int(told["socket"])), lambda: _report(report, {}))
    except UserErrorException as error:
        _report(report, {"message": error.message, "location": error.location, "hint": error.hint})
        return FAILED_TO_LOAD
    return 0


def _report(fd: int, news: dict[str, Any]) -> None:
    """``{}``: it answers. Else why it does not."""
    with os.fdopen(fd, "wb") as pipe:
        pipe.write(json.dumps(news).encode() + b"\n")


def _end_with_starter() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
