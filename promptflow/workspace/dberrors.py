"""What a database's error means to the user."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from promptflow.exceptions import WorkspaceError

_PASSWORD = re.compile(r"(?P<before>://[^:/@?]*:)(?P<password>[^?]*)(?=@)|(?P<key>[?&]password=)(?P<value>[^&]*)")
# Names of SQLite's codes, by their beginning: what happened, what to do.
_SQLITE = {
    "SQLITE_FULL": ("the disk is full", "free some space there, or set PF_HOME_DIRECTORY to another disk"),
    "SQLITE_READONLY": ("it is read-only", "change its owner or mode, or set PF_HOME_DIRECTORY to another folder"),
    "SQLITE_CANTOPEN": (
        "it cannot be opened or created",
        "check that its folder exists and that you can write to it, or set PF_HOME_DIRECTORY",
    ),
    "SQLITE_PERM": ("permission denied", "change its owner or mode"),
    "SQLITE_BUSY": ("another process has been writing to it for too long", "look for a pf process that hangs"),
    "SQLITE_IOERR": ("the disk failed, or a limit of its size was reached", "check the disk and `ulimit -f`"),
    "SQLITE_CORRUPT": ("the file is damaged", "restore it from a backup, or move it away to start anew"),
    "SQLITE_NOTADB": ("the file is not a database", "move it away to start anew"),
    "SQLITE_PROTOCOL": ("its locks do not work there", "keep the workspace on a local disk"),
}
_POSTGRESQL = {
    "53100": ("its disk is full", "free some space on the server"),
    "25006": ("it is read-only", "connect to the primary server"),
    "42501": ("permission denied", "grant this user the right to create and write tables"),
    "28P01": ("it refused the user or the password", "look at PF_DATABASE_URL"),
    "28000": ("it refused the user", "look at PF_DATABASE_URL"),
    "3D000": ("there is no such database on the server", "create it with: createdb NAME"),
}


def mask_password(url: str) -> str:
    """The url without its password."""
    return _PASSWORD.sub(lambda match: f"{match['before'] or match['key']}***", url)


def workspace_error(error: Any, url: str) -> WorkspaceError | None:
    """The error for the user; None where the statement is at fault, not the database."""
    from sqlalchemy import exc

    name = mask_password(url)
    if isinstance(error, exc.TimeoutError):
        return WorkspaceError(f"All connections to the workspace database {name} are in use.")
    code = getattr(error.orig, "sqlite_errorname", "")
    for beginning, (reason, hint) in _SQLITE.items():
        if code.startswith(beginning):
            return WorkspaceError(f"Cannot use the workspace database {name}: {reason}.", hint=hint)
    state = getattr(error.orig, "sqlstate", None) or ""
    if state in _POSTGRESQL:
        reason, hint = _POSTGRESQL[state]
        return WorkspaceError(f"Cannot use the workspace database {name}: {reason}.", hint=hint)
    if url.startswith("postgresql") and isinstance(error, exc.OperationalError | exc.InterfaceError):
        reason = _first_line(error.orig, url)
        hint = "check that the server runs and that PF_DATABASE_URL is right"
        return WorkspaceError(f"Cannot reach the workspace database {name}: {reason}", hint=hint)
    return None


def _first_line(error: Any, url: str) -> str:
    text = " ".join(str(error).strip().splitlines()[:1]) or type(error).__name__
    for match in _PASSWORD.finditer(url):
        password = match["password"] or match["value"]
        for spelling in {password, unquote(password or "")} - {None, ""}:
            text = text.replace(str(spelling), "***")
    return text
