"""Whose process holds the other end of a TCP connection within this machine."""

from __future__ import annotations

import ipaddress
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LOCAL, _REMOTE, _UID, _INODE = 1, 2, 7, 9
Address = tuple[str, int]


def user_of(client: Address, server: Address, tables: Iterable[Path] = TABLES) -> int | None:
    """The user id of the client of a connection; None where the system does not say, as only Linux does."""
    try:
        wanted = {(_spelled(*client, wide), _spelled(*server, wide)) for wide in (False, True)}
    except ValueError:
        return None
    for table in tables:
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except (OSError, ValueError):
            continue
        for line in lines:
            row = line.split()
            # A socket that its process has let go of has no inode, and would pass for root's.
            if len(row) > _INODE and (row[_LOCAL], row[_REMOTE]) in wanted and row[_INODE] != "0":
                return int(row[_UID])
    return None


def _spelled(host: str, port: int, wide: bool) -> str:
    """An address as the tables have it: words of the machine's byte order, an IPv4 one in IPv6's form if ``wide``."""
    address = ipaddress.ip_address(host)
    packed = address.packed
    if wide and address.version == 4:
        packed = bytes(10) + b"\xff\xff" + packed
    words = struct.unpack(f"{'<' if sys.byteorder == 'little' else '>'}{len(packed) // 4}I", packed)
    return f"{''.join(f'{word:08X}' for word in words)}:{port:04X}"
