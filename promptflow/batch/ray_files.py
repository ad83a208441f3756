"""The flow's folder on its way to other machines: as an archive, and as a folder of theirs."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

from promptflow.connections.local import RunningLocalConnection
from promptflow.exceptions import UserErrorException
from promptflow.executor.origin import Origin
from promptflow.executor.worker_lines import LinesSetup
from promptflow.storage.snapshot import copy_snapshot

_SETTINGS = ("PF_CACHE", "PF_COMPAT", "PF_DISABLE_TRACING")  # of ours that are no business of one machine
FLOW, HOME = "flow", "home"  # folders on a node: the flow's, and a workspace for its processes
MOST = 500 * 2**20  # bytes; a folder that is larger was not meant


def pack(folder: Path) -> bytes:
    """The folder as a zip, without what .amlignore or .gitignore leave out."""
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="pf_flow_") as scratch:
        copy = Path(scratch) / "flow"
        copy_snapshot(folder, copy)
        files = [path for path in sorted(copy.rglob("*")) if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        if size > MOST:
            raise UserErrorException(
                f"The folder holds {size / 2**20:,.0f} MiB, which is too much to send to the nodes.",
                location=str(folder),
                hint="leave out what it does not need: .amlignore, one pattern a line",
            )
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1, strict_timestamps=False) as archive:
            for path in files:
                archive.write(path, path.relative_to(copy).as_posix())
    return buffer.getvalue()


def unpack(data: bytes, target: Path) -> None:
    """Unpack into ``target``, which is made. Refuses a name that would land outside."""
    target.mkdir(mode=0o700, parents=True)
    root = target.resolve()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            if not (root / name).resolve().is_relative_to(root):
                raise UserErrorException(f"The archive holds {name!r}, which points outside its folder.")
        archive.extractall(root)


def moved(setup: LinesSetup, folder: Path, root: Path) -> LinesSetup:
    """The setup for a machine that has the flow's ``folder`` in ``root / FLOW`` and nothing else of ours."""
    # The cluster's token, and what Ray tells its own processes, are none of the flow's business.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHONBREAKPOINT"))}
    environment |= {k: v for k, v in setup.environment.items() if k in _SETTINGS}
    return replace(
        setup,
        origin=_moved(setup.origin, folder, root),
        path=tuple(sys.path),
        environment=environment,
        tape=None,
        cache="off",
    )


def _moved(origin: Origin, folder: Path, root: Path) -> Origin:
    flow = root / FLOW
    before = Path(origin.source)
    base = folder
    if origin.merged is not None:  # the archive has the folder with its includes
        base = before if before.is_dir() else before.parent
    source = str(flow / before.relative_to(base)) if before.is_absolute() else origin.source
    # A connection to a server that was started for this one machine: the node starts its own.
    found = {k: v for k, v in origin.found.items() if not isinstance(v, RunningLocalConnection)}
    return replace(
        origin,
        source=source,
        code=str(flow) if origin.code is not None else None,
        merged=str(flow) if origin.merged is not None else None,
        home=str(root / HOME),
        database_url=None,
        found=found,
    )
