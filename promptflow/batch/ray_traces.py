"""Traces of lines that ran on other machines: taken from the spool there, put into the workspace here."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from promptflow.executor.origin import Origin
from promptflow.workspace import Workspace


def take_traces(home: Path) -> bytes:
    """What processes have spooled in this workspace so far. It is not there any more."""
    taken = b""
    for file in Workspace.open(home).traces_folder.glob("*.jsonl"):
        claimed = file.with_suffix(".taken")
        file.rename(claimed)  # its writer begins another
        with claimed.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)  # the writer holds it while it writes
            taken += handle.read()
        claimed.unlink()
    return taken


def keep_traces(origin: Origin, spooled: bytes) -> None:
    """Put them where the workspace that the flow was loaded with looks for traces."""
    folder = Workspace.open(origin.home, origin.database_url).traces_folder
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{os.getpid()}-{os.urandom(8).hex()}"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(spooled)
    file.rename(f"{file}.jsonl")  # in one piece: a reader takes whole files
