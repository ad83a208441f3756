"""What keeps answers from being late now and then, and memory from growing over millions of them."""

from __future__ import annotations

import ctypes
import gc
import sys

SWITCH_SECONDS = 0.0005  # that a thread may hold the interpreter while answers wait for it; Python's own is 5 ms
LARGE = 128 * 1024  # bytes of a piece of memory that is given back to the system as soon as it is free
# glibc's numbers for mallopt, from malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def steady() -> None:
    """Called once, before the first request.

    The collector of garbage takes some 40 ms for a look at everything that is imported, and there is never any in it.
    """
    _keep_memory_whole()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _keep_memory_whole() -> None:
    """Buffers of what is to be written get memory of their own.

    By itself glibc takes them from the heap once it has seen a large one come and go, and the small things that are put
    between them keep all of it in use: measured 2.5 bytes per request, for ever. Elsewhere there is nothing to set.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((_MMAP_THRESHOLD, LARGE), (_TRIM_THRESHOLD, LARGE), (_ARENA_MAX, 1)):
            mallopt(option, value)
