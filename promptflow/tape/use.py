"""Recording and replaying what happens inside a ``with`` block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from promptflow.tape.clients.watch import watch
from promptflow.tape.current import using
from promptflow.tape.handover import Handover
from promptflow.tape.network import network_blocked
from promptflow.tape.player import Player
from promptflow.tape.recorder import Recorder


@contextmanager
def record(file: str | PathLike[str], *, http: Sequence[str] = ()) -> Iterator[None]:
    """Record the calls to models that are made inside, and HTTP calls to URLs that match a pattern of ``http``.

    The file is written anew. Secrets of connections, headers and the environment are taken out.
    """
    path = Path(file)
    path.unlink(missing_ok=True)
    recorder = Recorder(http)
    recorder.open(path)
    with recording(recorder):
        yield


@contextmanager
def replay(file: str | PathLike[str], *, allow: str | None = None) -> Iterator[Player]:
    """Answer the calls made inside from a tape, with the network blocked. Connections of the recording need not exist.

    A call that is not on the tape raises ReplayMiss where it is made, and again at the end of the block, whatever the
    code in it made of that. ``allow``: the url of a server that may be connected to, such as a database.
    """
    player = Player(Path(file), allow=allow)
    try:
        with replaying(player):
            yield player
    except Exception as error:
        if player.misses and error is not player.misses[0]:
            raise player.misses[0] from error
        raise
    if player.misses:
        raise player.misses[0]


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """`record` with a recorder that is made already; it is closed at the end."""
    watch()
    try:
        with using(recorder):
            yield
    finally:
        recorder.close()


@contextmanager
def replaying(player: Player) -> Iterator[None]:
    """`replay` with a player that is made already; its misses are left in it."""
    watch()
    with using(player), network_blocked(player):
        yield


@contextmanager
def taken_over(given: Handover) -> Iterator[None]:
    """Go by the tape of the process that handed it over."""
    if given.replays:
        with replaying(Player(Path(given.path), Path(given.note) if given.note else None, given.allow)):
            yield
        return
    recorder = Recorder(given.http, given.secrets)
    recorder.open(Path(given.path))
    with recording(recorder):
        yield
