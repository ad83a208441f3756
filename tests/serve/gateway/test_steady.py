"""What the server sets up in its own process, seen in one of its own: none of it may last in this one."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

LARGE_PIECES = """
import ctypes
from serve.gateway.steady import steady

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keep")]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info
steady()
bytearray(20_000_000)  # comes and goes; glibc would take pieces up to this size from the heap from now on
before = mallinfo().hblks
held = [bytearray(1_000_000) for _ in range(3)]
print(mallinfo().hblks - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc 2.33 tells where memory comes from")
def test_large_pieces_of_memory_never_come_from_the_heap() -> None:
    found = subprocess.run([sys.executable, "-c", LARGE_PIECES], capture_output=True, text=True, check=True, timeout=60)
    assert int(found.stdout) == 3
