"""The files of assets: kept once in the workspace's blobs, and laid out again where a program wants to read them.

A layout costs no disk: large files are links to their blobs, small ones are copies, which an editor may change.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalog.assets import LOCK, Asset
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

    def put(self, path: Path, *, link: bool = False) -> Blob:
        """Keep a file or a folder; nothing is written that is there already. ``link``: as in Blobs."""
        if path.is_dir():
            found = self.workspace.blobs.put_folder(path, link=link)
            if not self.workspace.blobs.files(found.digest):
                raise ValidationException(f"The folder {path} is empty.")
            return found
        if not path.exists():
            raise ValidationException(f"There is no file or folder {path}.")
        if not path.is_file():
            raise ValidationException(f"{path} is neither a file nor a folder.")
        return self.workspace.blobs.put_file(path, link=link)

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

        Blobs are deleted in such a transaction, too: what is there now stays there.
        """
        blobs = self.workspace.blobs
        if not blobs.has(blob.digest):
            return False
        inside = [] if blob.kind == FILE else [one.digest for _, one, _ in blobs.files(blob.digest)]
        made_of = sorted({blob.digest, *inside})
        if not all(map(blobs.has, made_of)):
            return False
        rows = [{"content": blob.digest, "blob": digest} for digest in made_of]
        self.workspace.store.put_many("asset_blobs", rows, keep=())
        return True

    def forget(self, digest: str) -> list[str]:
        """Forget what a content is made of, if no asset has it any more: its blobs. Inside such a transaction, too."""
        store = self.workspace.store
        if store.list("assets", where={"digest": digest}, limit=1):
            return []
        blobs = [row["blob"] for row in store.list("asset_blobs", where={"content": digest})]
        store.delete_where("asset_blobs", {"content": digest})
        return blobs

    def sweep(self, digest: str, blobs: Sequence[str]) -> None:
        """Delete blobs of a forgotten content that nothing else is made of. Not in the transaction that forgot it: had
        that one failed, rows would be left without their bytes."""
        store = self.workspace.store
        with self.workspace.db.write(lock=LOCK):
            for blob in blobs:
                wanted = store.list("asset_blobs", where={"blob": blob}, limit=1)
                if not wanted and not store.list("blobs", where={"digest": blob}, limit=1):
                    self.workspace.blobs.delete(blob)
            if digest in blobs and not store.list("assets", where={"digest": digest}, limit=1):
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
        """Write the content to ``target``, its bytes checked on the way. Files that are there are replaced, each whole
        or not at all; a folder that was not there appears whole."""
        blobs = self.workspace.blobs
        if asset.form == FILE:
            blobs.copy_file(asset.digest, target)
        elif not target.is_dir() or not any(target.iterdir()):
            blobs.copy_folder(asset.digest, target)
        else:
            for file in self.files(asset):
                blobs.copy_file(file.digest, target / file.path)

    def _place(self, digest: str) -> Path:
        return self.workspace.home / _FOLDER / digest[:2] / digest

    def _link(self, file: File, target: Path) -> None:
        source = self.workspace.blobs.local_file(file.digest)
        if source is None or not source.exists() or file.executable or file.size < _COPIED_BYTES:
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
