"""Content-addressed files and folders: on the local disk, or on any fsspec url."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from promptflow.exceptions import MissingExtraError, WorkspaceError
from promptflow.workspace import jsontext
from promptflow.workspace.atomic import file_error, make_folder, replacing

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20
_MANIFEST = "promptflow-folder-1"


@dataclass(frozen=True)
class Blob:
    """What was kept: ``digest`` is the SHA-256 of its bytes, ``kind`` is "file" or "folder"."""

    digest: str
    size: int
    kind: str = "file"


class Blobs:
    """Put bytes in, get the same bytes out, by digest. What is there already is not written again."""

    def __init__(self, place: str | Path) -> None:
        self.place = str(place)
        self._filesystem: Any = None
        self._root = self.place

    def put(self, data: bytes) -> Blob:
        """Keep bytes."""
        digest = hashlib.sha256(data).hexdigest()
        if not self.has(digest):
            with self._new(digest) as out:
                out.write(data)
        return Blob(digest, len(data))

    def put_file(self, path: Path, *, link: bool = False) -> Blob:
        """Keep a file. It is read twice, so that a file that is there already is not written.

        ``link``: it never changes in place, so the same disk need not hold it twice.
        """
        digest, size = _digest(path)
        if not self.has(digest) and not (link and self._linked(path, digest)):
            with _opened(path) as source, self._new(digest) as out:
                check = _copy(source, out)
                if check != digest:
                    raise WorkspaceError(f"{path} was changed while it was being kept.", hint="try again")
        return Blob(digest, size)

    def put_folder(self, path: Path, *, link: bool = False) -> Blob:
        """Keep every file below a folder; links are kept as what they point to. The digest is that of its listing."""
        return self.put_listing(
            (name, self.put_file(path / name, link=link), os.access(path / name, os.X_OK)) for name in _walk(path)
        )

    def put_listing(self, files: Iterable[tuple[str, Blob, bool]]) -> Blob:
        """Keep a folder whose files are kept already: path in it, blob, whether it is executable."""
        listed = []
        for name, blob, executable in sorted(files, key=lambda file: file[0]):
            _check_name(name)
            listed.append({"path": name, "digest": blob.digest, "size": blob.size, "executable": executable})
        listing = self.put(jsontext.dumps({"format": _MANIFEST, "files": listed}).encode())
        return Blob(listing.digest, sum(int(str(file["size"])) for file in listed), "folder")

    def local_file(self, digest: str) -> Path | None:
        """The file that holds the bytes, to read only; None where blobs are not kept on this machine's disk."""
        path = self._path(digest)
        return Path(path) if _is_local(self._files()) else None

    def has(self, digest: str) -> bool:
        """Whether it is kept."""
        with self._errors("look for", digest):
            return bool(self._files().exists(self._path(digest)))

    def get(self, digest: str) -> bytes:
        """The bytes; WorkspaceError if they are not there, or no longer what was kept."""
        with self._open(digest) as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != digest:
            raise self._damaged(digest)
        return data

    def copy_file(self, digest: str, target: Path) -> None:
        """Write the bytes to a file, whole or not at all."""
        with self._open(digest) as source, replacing(target) as out:
            if _copy(source, out) != digest:
                raise self._damaged(digest)

    def copy_folder(self, digest: str, target: Path) -> None:
        """Write a kept folder to ``target``, which must not exist or be empty: whole or not at all."""
        if target.is_symlink() or target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise WorkspaceError(f"{target} is in the way: it is not an empty folder.")
        files = self.files(digest)
        new = target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
        make_folder(new)
        try:
            for name, blob, executable in files:
                self.copy_file(blob.digest, new / name)
                if executable:
                    os.chmod(new / name, 0o755)
            os.replace(new, target)
        except OSError as error:
            raise file_error("write", target, error) from error
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def files(self, digest: str) -> list[tuple[str, Blob, bool]]:
        """What a kept folder holds: path, blob, whether it is executable."""
        try:
            listing = jsontext.loads(self.get(digest))
            if listing["format"] != _MANIFEST:
                raise KeyError("format")
            files = [(f["path"], Blob(f["digest"], f["size"]), bool(f["executable"])) for f in listing["files"]]
        except (ValueError, KeyError, TypeError) as error:
            raise WorkspaceError(f"Blob {digest} is not a folder.") from error
        for name, _, _ in files:
            _check_name(name)
        return files

    def delete(self, digest: str) -> bool:
        """Forget it; False if it was not there. Who still refers to it is the caller's business."""
        if not self.has(digest):
            return False
        with self._errors("delete", digest):
            self._files().rm(self._path(digest))
        return True

    def _files(self) -> Any:
        if self._filesystem is None:
            import fsspec

            try:
                self._filesystem, self._root = fsspec.core.url_to_fs(self.place)
            except ImportError as error:  # such as "Install s3fs to access S3"
                raise MissingExtraError(f"Blobs are kept in {self.place}: {error}.", hint="pip install it") from error
            except ValueError as error:
                raise WorkspaceError(f"Blobs cannot be kept in {self.place}: {error}.") from error
        return self._filesystem

    def _path(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            raise WorkspaceError(f"{digest[:80]!r} is not a digest: 64 hexadecimal digits.")
        self._files()
        return f"{self._root.rstrip('/')}/{digest[:2]}/{digest}"

    def _linked(self, path: Path, digest: str) -> bool:
        target = self.local_file(digest)
        if target is None:
            return False
        make_folder(target.parent)
        try:
            os.link(path.resolve(), target)  # resolved: on Linux a link to a symbolic link is one itself
        except FileExistsError:
            return True
        except OSError:  # another disk, or one without links
            return False
        return True

    @contextlib.contextmanager
    def _new(self, digest: str) -> Iterator[IO[bytes]]:
        path = self._path(digest)
        if _is_local(self._files()):
            with replacing(Path(path)) as file:
                yield file
            return
        # Object stores show an object only when it is closed; where that is not so, `_damaged` tells on reading.
        with self._errors("write", digest), self._files().open(path, "wb") as file:
            yield file

    @contextlib.contextmanager
    def _open(self, digest: str) -> Iterator[BinaryIO]:
        path = self._path(digest)
        try:
            file = self._files().open(path, "rb")
        except FileNotFoundError as error:
            raise WorkspaceError(f"Blob {digest} is not in {self.place}.") from error
        except OSError as error:
            raise file_error("read blob", digest, error) from error
        with file:
            yield file

    @contextlib.contextmanager
    def _errors(self, what: str, digest: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise file_error(f"{what} blob {digest} in", self.place, error) from error

    def _damaged(self, digest: str) -> WorkspaceError:
        return WorkspaceError(f"Blob {digest} in {self.place} is damaged.", hint="delete it and keep its source again")


def _is_local(filesystem: Any) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(filesystem, LocalFileSystem)


def _copy(source: IO[bytes], out: IO[bytes] | None) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        if out is not None:
            out.write(chunk)
    return digest.hexdigest()


def _digest(path: Path) -> tuple[str, int]:
    with _opened(path) as file:
        return _copy(file, None), file.tell()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise file_error("read", path, error) from error
    with file:
        yield file


def _walk(folder: Path) -> list[str]:
    """The files below a folder as sorted relative paths, through links to folders, but never in circles."""
    if not folder.is_dir():
        raise WorkspaceError(f"{folder} is not a folder.")
    found: list[str] = []
    above: dict[str, frozenset[str]] = {str(folder): frozenset((os.path.realpath(folder),))}
    for place, folders, files in os.walk(folder, followlinks=True):
        seen = above.pop(place)
        for name in [*folders]:
            real = os.path.realpath(os.path.join(place, name))
            if real in seen:
                raise WorkspaceError(f"{os.path.join(place, name)} is a link to a folder that holds it.")
            above[os.path.join(place, name)] = seen | {real}
        found += [Path(place, name).relative_to(folder).as_posix() for name in files]
    return sorted(found)


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or str(path) != name:
        raise WorkspaceError(f"A kept folder names the file {name!r}, which would lie outside of it.")
