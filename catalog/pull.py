"""A model from a hub to the cache of this machine: what is asked before, what is fetched, how it is laid down."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from catalog.consents import CODE, LICENCE, PICKLE, Consents
from catalog.formats import USUAL, Choice, Wanted, check_names, choose, kind
from catalog.hub import Hub
from catalog.huberrors import HubError
from catalog.hubinfo import ModelInfo, RepoFile
from catalog.licences import licence_text, needs_word
from catalog.local import LocalModel, LocalModels
from catalog.parts import CHUNK
from catalog.ranges import RemoteFile
from catalog.transfer import Progress, download, listed
from catalog.verify import is_whole
from promptflow.exceptions import UserErrorException, ValidationException, WorkspaceError
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import file_error, make_folder, write_whole
from promptflow.workspace.locks import file_lock
from promptflow.workspace.sizes import size_text

SPARE = 64 << 20  # bytes that are left on the disk
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ETAG = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LOCK_SECONDS = 24 * 3600.0  # as long as another process may take to fetch a file


class LicenceError(UserErrorException):
    """The licence of the model was not accepted."""

    http_status = 403


class DiskSpaceError(UserErrorException):
    """The model is larger than the room on the disk."""

    http_status = 507


@dataclass(frozen=True)
class Plan:
    """What a pull would do. ``fetch`` are the bytes that are not here yet, ``asks`` what the user has to say first:
    "licence", "pickle" or "code", each as the words of its question."""

    model: ModelInfo
    revision: str
    choice: Choice
    fetch: int
    asks: Mapping[str, str]

    @property
    def size(self) -> int:
        return sum(file.size or 0 for file in self.choice.taken)


class Puller:
    """Pulls from one hub into one cache; what the user said of models is kept in the workspace."""

    def __init__(self, workspace: Workspace, hub: Hub | None = None, models: LocalModels | None = None) -> None:
        self.hub, self.models = hub or Hub(), models or LocalModels()
        self.consents = Consents(workspace)
        self.events = workspace.events

    def plan(self, id: str, revision: str | None = None, wanted: Wanted = USUAL) -> Plan:
        """Ask the hub, and check all that can be checked before a byte is fetched: names, access, licence, room."""
        repo = self.models.repo(id)
        model = self.hub.model(id, revision)
        check_names(model.files)
        _check_facts(model)
        if model.gated or model.private:
            self.hub.auth_check(id)
        said = {consent.what for consent in self.consents.of(id)}
        wanted = replace(wanted, pickle=wanted.pickle or PICKLE in said, code=wanted.code or CODE in said)
        choice = choose(model.files, wanted)
        fetch = sum(_missing(repo / "blobs", file) for file in choice.taken)
        _check_room(self.models.folder, fetch, id)
        return Plan(replace(model, id=id), revision or "main", choice, fetch, self._asks(id, model, choice, said))

    def pull(self, plan: Plan, *, accept: bool = False, progress: Progress = lambda count: None) -> LocalModel:
        """Do it. ``accept``: the user said yes to all that the plan asks. LicenceError, HubError, WorkspaceError."""
        id, model = plan.model.id, plan.model
        if LICENCE in plan.asks and not accept:
            raise LicenceError(
                f"The licence of {id} ({licence_text(model)}) was not accepted yet.",
                hint=f"read it at {self.hub.page_url(id)}, then add --accept-licence",
            )
        for what in plan.asks:
            self.consents.give(id, what, licence=model.licence, sha=model.sha, hub=self.hub.endpoint)
        repo = self.models.repo(id)
        _make_cache(repo / "blobs")
        self._fetch(plan, repo, progress)
        for file in plan.choice.taken:
            _link(repo, model.sha, file)
        if not _COMMIT.fullmatch(plan.revision):
            write_whole(_inside(repo, "refs", plan.revision), model.sha.encode())
        facts = {"sha": model.sha, "hub": self.hub.endpoint, "bytes": plan.size, "files": len(plan.choice.taken)}
        self.events.append("model.pulled", id, {**facts, "licence": model.licence, "gated": model.gated})
        return self.models.get(id, model.sha)

    def _asks(self, id: str, model: ModelInfo, choice: Choice, said: set[str]) -> dict[str, str]:
        asks = {}
        if needs_word(model) and not self.consents.given(id, LICENCE, licence=model.licence):
            asks[LICENCE] = f"Accept the licence of {id}: {licence_text(model)}?"
        kinds = {kind(file.name) for file in choice.taken}
        if PICKLE in kinds - said:
            asks[PICKLE] = f"Trust the pickles of {id}?"
        if CODE in kinds - said:
            asks[CODE] = f"Trust the code of {id}?"
        return asks

    def _fetch(self, plan: Plan, repo: Path, progress: Progress) -> None:
        """Large files one after the other, each on several connections; small ones some at a time."""
        small = [file for file in plan.choice.taken if (file.size or 0) <= CHUNK]
        fetch = self._fetcher(plan, repo, progress)
        with ThreadPoolExecutor(4, thread_name_prefix="pull") as pool:
            for _ in pool.map(fetch, small):
                pass
        for file in plan.choice.taken:
            if file not in small:
                fetch(file)

    def _fetcher(self, plan: Plan, repo: Path, progress: Progress) -> Callable[[RepoFile], None]:
        headers = self.hub.headers()

        def fetch(file: RepoFile) -> None:
            blob = repo / "blobs" / file.etag
            if _is_there(blob, file) and _touch(blob):
                return progress(file.size or 0)
            # huggingface_hub holds the same lock while it fetches the same file.
            with file_lock(self.models.folder / ".locks" / repo.name / f"{file.etag}.lock", _LOCK_SECONDS):
                if _is_there(blob, file) and _touch(blob) or self._shared(blob, file):
                    return progress(file.size or 0)
                url = self.hub.file_url(plan.model.id, plan.model.sha, file.name)
                download(RemoteFile(url, file.size or 0, headers), file.etag, blob, progress)

        return fetch

    def _shared(self, blob: Path, file: RepoFile) -> bool:
        """Take the blob from another model that has it: a second name of the same bytes on the disk."""
        for other in self.models.folder.glob(f"models--*/blobs/{file.etag}"):
            if other != blob and _is_there(other, file) and is_whole(other, file.etag):
                blob.unlink(missing_ok=True)
                try:
                    os.link(other, blob)
                    os.utime(blob)
                except OSError:  # another disk, or a file system without links: fetch it
                    return False
                return True
        return False


def _check_facts(model: ModelInfo) -> None:
    """What becomes the name of a file must look like what it is."""
    if not _COMMIT.fullmatch(model.sha):
        raise HubError(f"The hub calls the commit of {model.id} {model.sha!r}, which is none.")
    for file in model.files:
        if not _ETAG.fullmatch(file.etag) or file.size is None:
            raise HubError(f"The hub does not say the hash and the size of {file.name}.", hint="use another hub")


def _make_cache(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(
            f"Cannot create {folder}: {error.strerror or error}.", hint="set HF_HOME to a folder that can be written to"
        ) from error


def _check_room(folder: Path, fetch: int, id: str) -> None:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if fetch and fetch + SPARE > free:
        raise DiskSpaceError(
            f"{id} needs {size_text(fetch)} more on the disk of {there}, where {size_text(free)} are free.",
            hint="remove models (pf catalog list), set HF_HOME to a larger disk, or take less with --include",
        )


def _missing(blobs: Path, file: RepoFile) -> int:
    blob, size = blobs / file.etag, file.size or 0
    if _is_there(blob, file):
        return 0
    return size - min(size, listed(blob))


def _is_there(blob: Path, file: RepoFile) -> bool:
    return blob.is_file() and not blob.is_symlink() and blob.stat().st_size == file.size


def _touch(blob: Path) -> bool:
    """Make it young, so that `pf catalog prune` leaves it until it is linked to; False where that was too late."""
    try:
        os.utime(blob)
    except FileNotFoundError:
        return False
    except PermissionError:
        pass  # another user's, whose prune this is
    return True


def _link(repo: Path, sha: str, file: RepoFile) -> None:
    """``snapshots/SHA/NAME`` -> ``../../blobs/ETAG``, relative: the whole cache can move."""
    link = _inside(repo, "snapshots", f"{sha}/{file.name}")
    target = os.path.relpath(repo / "blobs" / file.etag, link.parent)
    if link.is_symlink() and os.readlink(link) == target:
        return
    temporary = link.with_name(f".{link.name[:200]}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        os.replace(temporary, link)
    except OSError as error:
        raise file_error("link", link, error) from error


def _inside(repo: Path, area: str, name: str) -> Path:
    """``REPO/AREA/NAME``, its folder made; ValidationException where a link would lead out of it."""
    path = repo / area / name
    folder = repo
    for part in path.relative_to(repo).parts[:-1]:
        folder /= part
        if part in ("..", ".") or folder.is_symlink():
            raise ValidationException(f"{folder} is a link to another place.", hint="remove it, and pull again")
        make_folder(folder)
    if path.name in ("", ".", "..") or path.is_dir():
        raise ValidationException(f"{name!r} is no name of a file, or a folder has it.")
    return path
