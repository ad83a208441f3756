"""``python -P -m serve.supervisor.start FD MODULE ...``: runs a module that ends when the server does.

However the server ends, the pipe at FD closes, and everything in this process's group is killed. On Linux the kernel
sees to this process as well, should a C extension keep the thread below from running.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1


def main() -> None:
    lifeline, module = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True, name="lifeline").start()
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    # Its own group, as the server started it; never the group of whoever tried it by hand.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
