"""What a commit changes: the lines of its body, and the files that come of them. Pure functions."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from catalog.contents import File
from catalog.mirror.errors import MirrorError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST = 1024  # characters of a path
_LONGEST_PART = 255


@dataclass(frozen=True)
class Header:
    """The first line. ``parent``: the commit that the client believes to be the last one."""

    summary: str = ""
    description: str = ""
    parent: str = ""


@dataclass(frozen=True)
class Small:
    """A file that comes with the commit."""

    path: str
    data: bytes


@dataclass(frozen=True)
class Large:
    """A file that was uploaded before, by its sha256; ``size`` None: as it was."""

    path: str
    sha256: str
    size: int | None = None


@dataclass(frozen=True)
class Deleted:
    """A file, or all below a folder."""

    path: str
    folder: bool = False


Change = Header | Small | Large | Deleted


def parse_line(line: bytes) -> Change | None:
    """One line of a commit's body (JSON with ``key`` and ``value``); None of an empty one."""
    if not line.strip():
        return None
    try:
        data = json.loads(line)
        key, value = data["key"], data["value"]
        if key == "header":
            texts = (value.get("summary"), value.get("description"), value.get("parentCommit"))
            return Header(*(str(text or "") for text in texts))
        path = check_path(str(value["path"]))
        if key == "file":
            return Small(path, _content(value))
        if key == "lfsFile":
            return _large(path, value)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MirrorError(400, "A line of this commit is not what the hub's clients send.") from error
    if key in ("deletedFile", "deletedFolder"):
        return Deleted(path.rstrip("/"), key == "deletedFolder")
    raise MirrorError(400, f"A commit has no operation {str(key)[:80]!r}.")


def check_path(path: str) -> str:
    """A path inside a repo, as it may be laid out on any disk."""
    parts = path.rstrip("/").split("/")
    bad = any(part in ("", ".", "..") or len(part) > _LONGEST_PART for part in parts)
    if bad or len(path) > _LONGEST or "\\" in path or parts[0] == ".git" or any(ord(letter) < 32 for letter in path):
        raise MirrorError(400, f"{path[:80]!r} is no path inside a repo.")
    return path


def changed(files: Mapping[str, File], put: Mapping[str, File], deleted: Iterable[Deleted]) -> dict[str, File]:
    """The files after a commit: what is deleted goes first, as git does it in one commit."""
    kept = dict(files)
    for one in deleted:
        gone = [path for path in kept if path == one.path or one.folder and path.startswith(f"{one.path}/")]
        for path in gone:
            del kept[path]
    kept |= put
    for path in kept:
        above = path
        while "/" in above:
            above = above.rpartition("/")[0]
            if above in kept:
                raise MirrorError(400, f"{above} is a file: there can be no {path}.")
    return kept


def _content(value: Mapping[str, Any]) -> bytes:
    text = value["content"]
    if value.get("encoding", "utf-8") != "base64":
        return str(text).encode()
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise MirrorError(400, f"The content of {value['path']} is no base64.") from error


def _large(path: str, value: Mapping[str, Any]) -> Large:
    oid, size = str(value["oid"]), value.get("size")
    if value.get("algo", "sha256") != "sha256" or not _SHA256.fullmatch(oid):
        raise MirrorError(400, f"{path} must be named by its sha256.")
    return Large(path, oid, int(size) if size is not None else None)
