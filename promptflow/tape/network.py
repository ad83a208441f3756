"""No connections while a tape is replayed: whatever the flow's code tries, nothing leaves the process."""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from promptflow.exceptions import ReplayConnectionError
from promptflow.tape.place import here
from promptflow.tape.player import Player
from promptflow.tracing.aside import is_aside

_HINT = "a replay makes no live calls; declare HTTP calls when recording: --record-http 'https://host/*'"
_NAMES = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})
_SENDS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_LOCAL = {"", "localhost", "0.0.0.0", "::"}

_players: list[Player] = []
_allowed: set[str] = set()
_hooked = False


@contextmanager
def network_blocked(player: Player) -> Iterator[None]:
    """Refuse connections of the whole process, but to Unix sockets and to what the player allows (the database).

    Python's audit events see every socket of Python code, however it came by it. C libraries that open their own
    (libpq) and child processes are not seen.
    """
    global _hooked
    if not _hooked:
        sys.addaudithook(_check)  # for the life of the process: there is no way back
        _hooked = True
    if player.allow:
        _allowed.add(urlsplit(player.allow).hostname or "")
    _players.append(player)
    try:
        yield
    finally:
        _players.remove(player)


def _check(event: str, arguments: tuple[Any, ...]) -> None:
    if not _players or is_aside():
        return
    if event in _SENDS:
        own, address = arguments
        if own.family in (socket.AF_INET, socket.AF_INET6) and address and address[0] not in _allowed:
            _refuse(f"{address[0]}:{address[1]}" if len(address) > 1 else str(address[0]))
    elif event in _NAMES:
        host = arguments[0]
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host or "")
        if name not in _allowed and not _is_local(name):
            _refuse(name)


def _is_local(name: str) -> bool:
    """Names that no server is asked for."""
    if name in _LOCAL:
        return True
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _refuse(what: str) -> None:
    place = here()
    at = f" ({place})" if str(place) else ""
    message = f"Replay: a connection to {what} was refused{at}."
    raise _players[-1].missed(message, place, _HINT, ReplayConnectionError)
