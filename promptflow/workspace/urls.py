"""Files that are elsewhere: any url that fsspec knows (``s3://``, ``https://``, ``memory://``, ...)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from promptflow.exceptions import DataFileError, MissingExtraError, WorkspaceError
from promptflow.workspace.atomic import make_folder, replacing

_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*::)*[a-zA-Z][a-zA-Z0-9+.-]*://")


def is_url(text: str) -> bool:
    """Whether this names a file elsewhere; ``file://`` does not."""
    return bool(_URL.match(text)) and not text.startswith("file://")


def absolute(text: str) -> str:
    """A url as it is, a path or ``file://`` as an absolute path."""
    if is_url(text):
        return text
    path = unquote(urlsplit(text).path) if text.startswith("file://") else text
    return Path(path).resolve().as_posix()


def shown(url: str) -> str:
    """A url without what may be secret: the user's name and password, the query."""
    parts = (urlsplit(part) for part in url.split("::")) if is_url(url) else ()
    safe = (urlunsplit((part.scheme, part.netloc.rpartition("@")[2], part.path, "", "")) for part in parts)
    return "::".join(safe) or url


def file_name(url: str) -> str:
    """The last part of a url, which tells what kind of file it is."""
    first = next(part for part in url.split("::") if "://" in part)  # zip://rows.csv::s3://bucket/rows.zip
    parts = urlsplit(first)
    return Path(unquote(parts.path.rstrip("/") or parts.netloc)).name.strip(".")


def exists(url: str) -> bool:
    """Raises DataFileError when that cannot be known, MissingExtraError when a package for such urls is missing."""
    filesystem, path = filesystem_of(url)
    with _errors("look for", url):
        return bool(filesystem.exists(path))


def download(url: str, folder: Path) -> Path:
    """Copy a file, or a folder with all that is in it, into ``folder``: whole or not at all. What is there stays."""
    target = folder / (file_name(url) or "data")
    if target.exists():
        return target
    make_folder(folder)
    filesystem, path = filesystem_of(url)
    part = target.with_name(f".{target.name}.part")
    with _errors("read", url):
        if not path.startswith(("http:", "https:")) and filesystem.isdir(path):
            for file in filesystem.find(path):
                place = part / Path(file).relative_to(path)
                if ".." in place.parts:
                    raise DataFileError(f"{shown(url)} holds a file {file!r}, which would lie outside of its folder.")
                place.parent.mkdir(parents=True, exist_ok=True)
                filesystem.get_file(file, str(place))
        else:
            filesystem.get_file(path, str(part))
        part.replace(target)
    return target


@contextmanager
def writing(target: str) -> Iterator[IO[bytes]]:
    """A file to write at a url or path. A local file appears whole or not at all, others as their store does it."""
    if not is_url(target):
        with replacing(Path(absolute(target))) as file:
            yield file
        return
    filesystem, path = filesystem_of(target)
    with _errors("write", target), filesystem.open(path, "wb") as file:
        yield file


def filesystem_of(url: str) -> tuple[Any, str]:
    """fsspec's filesystem for this url, and the path in it."""
    import fsspec  # 70 ms, for urls only

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:  # such as "Install s3fs to access S3"
        raise MissingExtraError(f"{shown(url)}: {error}.", hint="pip install it") from error
    except ValueError as error:  # such as "Protocol not known: foo"
        raise DataFileError(f"{shown(url)} is no url that can be read or written: {error}.") from error
    return filesystem, path


@contextmanager
def _errors(what: str, url: str) -> Iterator[None]:
    try:
        yield
    except (DataFileError, MissingExtraError, WorkspaceError):
        raise
    except Exception as error:  # every filesystem has errors of its own: botocore's, aiohttp's, ...
        reason = f"{type(error).__name__}: {error}".replace(url, shown(url))
        raise DataFileError(f"Cannot {what} {shown(url)}: {reason}") from error
