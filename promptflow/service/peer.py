"""Whose process holds the other end of a TCP connection within this machine."""

from __future__ import annotations

import ipaddress
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_UID, _INODE = 6, 8  # from the addresses on
Address = tuple[str, int]


def user_of(client: Address, server: Address, tables: Iterable[Path] = TABLES) -> int | None:
    """The user id of the client of a connection; None where the system does not say, as only Linux does."""
    try:
        wanted = [f" {_spelled(*client, wide)} {_spelled(*server, wide)} " for wide in (False, True)]
    except ValueError:
        return None
    for table in tables:
        try:
            text = table.read_text("ascii")
        except (OSError, ValueError):
            continue
        for pair in wanted:
            at = text.find(pair)
            row = text[at : text.find("\n", at)].split() if at >= 0 else []
            # A socket that its process has let go of has no inode, and would pass for root's.
            if len(row) > _INODE and row[_INODE] != "0":
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
