"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from promptflow.exceptions import WorkspaceError

_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space there, or set PF_HOME_DIRECTORY to another disk"),
    errno.EDQUOT: ("the disk quota is used up", "free some space there, or set PF_HOME_DIRECTORY to another disk"),
    errno.EFBIG: ("the file would grow past the size limit of this process", "raise the limit (ulimit -f)"),
    errno.EROFS: ("the file system is read-only", "set PF_HOME_DIRECTORY to a folder that you can write to"),
    errno.EACCES: ("permission denied", "change its owner or mode, or set PF_HOME_DIRECTORY to another folder"),
    errno.EPERM: ("operation not permitted", "change its owner or mode, or set PF_HOME_DIRECTORY to another folder"),
    errno.EEXIST: ("a file is in its place", "remove it, or set PF_HOME_DIRECTORY to a folder"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "set PF_HOME_DIRECTORY to a folder"),
}


def file_error(what: str, path: object, error: OSError) -> WorkspaceError:
    """The error to raise where ``what`` (such as "write") could not be done to ``path``."""
    reason, hint = _REASONS.get(error.errno or 0, (error.strerror or str(error), ""))
    return WorkspaceError(f"Cannot {what} {path}: {reason}.", hint=hint)


def make_folder(path: Path, mode: int = 0o777) -> Path:
    """Create a folder and its parents; WorkspaceError says why not."""
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise file_error("create the folder", path, error) from error
    return path


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` when the block ends well, and leaves no trace when it does not."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        # os.open, not tempfile: the umask then rules the mode, so that a shared workspace's group can read the file.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise file_error("write", path, error) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def write_whole(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Put ``data`` in place of whatever ``path`` holds, in one step."""
    with replacing(path, mode) as file:
        file.write(data)
