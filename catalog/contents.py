"""The files of assets: kept once in the workspace's blobs, and laid out again where a program wants to read them.

A layout costs no disk: large files are links to their blobs, small ones are copies, which an editor may change.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from catalog.assets import Asset
from promptflow.exceptions import ValidationException, WorkspaceError
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import file_error, make_folder
from promptflow.workspace.blobs import Blob

FILE = "file"
_COPIED_BYTES = 1 << 20  # what is smaller is copied, not linked
_FOLDER = "assets"


@dataclass(frozen=True)
class File:
    """One file of a content: its path in it, SHA-256, bytes."""

    path: str
    digest: str
    size: int
    executable: bool = False


class Contents:
    """Files and folders of assets by digest."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def put(self, path: Path) -> Blob:
        """Keep a file or a folder; nothing is written that is there already."""
        if path.is_dir():
            found = self.workspace.blobs.put_folder(path)
            if not self.workspace.blobs.files(found.digest):
                raise ValidationException(f"The folder {path} is empty.")
            return found
        if not path.exists():
            raise ValidationException(f"There is no file or folder {path}.")
        if not path.is_file():
            raise ValidationException(f"{path} is neither a file nor a folder.")
        return self.workspace.blobs.put_file(path)

    def put_files(self, files: Iterable[File]) -> Blob:
        """Keep a folder of files whose blobs are kept already."""
        return self.workspace.blobs.put_listing((f.path, Blob(f.digest, f.size), f.executable) for f in files)

    def files(self, asset: Asset) -> list[File]:
        """What an asset holds; a single file is called by its own name."""
        if asset.form == FILE:
            return [File(asset.path, asset.digest, asset.size)]
        return [File(name, blob.digest, blob.size, bit) for name, blob, bit in self.workspace.blobs.files(asset.digest)]

    def claim(self, blob: Blob) -> bool:
        """Note what blobs a content is made of; False if one is gone. To be called inside ``write(lock=LOCK)``.

        Whoever deletes blobs does it in such a transaction, too: what is there now stays there.
        """
        made_of = self._blobs(blob.digest, blob.kind)
        if not all(self.workspace.blobs.has(digest) for digest in made_of):
            return False
        rows = [{"content": blob.digest, "blob": digest} for digest in made_of]
        self.workspace.store.put_many("asset_blobs", rows, keep=())
        return True

    def drop(self, digest: str) -> None:
        """Forget a content that no asset has any more, and its blobs that no other one is made of. Inside such a
        transaction, too."""
        store = self.workspace.store
        mine = [row["blob"] for row in store.list("asset_blobs", where={"content": digest})]
        store.delete_where("asset_blobs", {"content": digest})
        for blob in mine:
            named = store.list("blobs", where={"digest": blob}, limit=1)
            if not named and not store.list("asset_blobs", where={"blob": blob}, limit=1):
                self.workspace.blobs.delete(blob)
        shutil.rmtree(self._place(digest), ignore_errors=True)

    def lay_out(self, asset: Asset) -> Path:
        """The content as a file or folder under its own name, made in the workspace when it is first asked for.

        It is there to be read: AZUREML_MODEL_DIR is its parent.
        """
        target = self._place(asset.digest) / asset.path
        if target.exists():
            return target
        temporary = make_folder(target.parent) / f".{os.getpid()}-{os.urandom(4).hex()}.tmp"
        inside = temporary / asset.path
        try:
            for file in self.files(asset):
                self._link(file, inside if asset.form == FILE else inside / file.path)
            os.rename(inside, target)
        except OSError as error:
            if not target.exists():  # else another process was quicker
                raise file_error("write", target, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return target

    def copy(self, asset: Asset, target: Path) -> None:
        """Write the content to ``target``, its bytes checked on the way: whole or not at all."""
        if asset.form == FILE:
            self.workspace.blobs.copy_file(asset.digest, target)
        else:
            self.workspace.blobs.copy_folder(asset.digest, target)

    def _blobs(self, digest: str, form: str) -> list[str]:
        inside = [] if form == FILE else [blob.digest for _, blob, _ in self.workspace.blobs.files(digest)]
        return sorted({digest, *inside})

    def _place(self, digest: str) -> Path:
        return self.workspace.home / _FOLDER / digest[:2] / digest

    def _link(self, file: File, target: Path) -> None:
        source = self.workspace.blobs.local_file(file.digest)
        if source is None or file.executable or file.size < _COPIED_BYTES:
            self.workspace.blobs.copy_file(file.digest, target)
            target.chmod(0o755 if file.executable else 0o644)
            return
        if source.stat().st_size != file.size:
            raise WorkspaceError(f"Blob {file.digest} is damaged: it has not {file.size} bytes any more.")
        make_folder(target.parent)
        # One file under two names: what wrote to one would change the other.
        source.chmod(0o444)
        try:
            os.link(source, target)
        except OSError:  # another disk, or one without links
            self.workspace.blobs.copy_file(file.digest, target)
