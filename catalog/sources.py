"""Where the files of a new asset come from: a path, what a run wrote, a model that was pulled, a url."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from catalog.local import LocalModels
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import make_folder

_RUN = (
    r"runs:/(?P<run>[^/]+)/?(?P<path>.*)",
    r"azureml://jobs/(?P<run>[^/]+)/outputs/(?P<output>[^/]+)(?:/paths/(?P<path>.*))?",
)
_DATASTORE = re.compile(r"azureml://(?:.*/)?datastores/")
_ASSET = re.compile(r"azureml:|(?:model|data)s?:/")
_HUB = "hf://"  # as huggingface_hub writes it: hf://ORG/NAME@REVISION
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


@dataclass(frozen=True)
class Source:
    """The file or folder to keep, under what ``name``; ``origin`` is how it was named.

    ``run`` is the run that wrote it; ``hub`` the model of the hub that it is, as ``ORG/NAME@COMMIT``.
    """

    path: Path
    origin: str
    name: str
    run: str = ""
    hub: str = ""


def is_url(text: str) -> bool:
    """Whether it names something else than a path on this machine."""
    return bool(_URL.match(text) or _ASSET.match(text) or text.startswith(("runs:/", "file:")))


@contextlib.contextmanager
def opened(text: str, folder: Path, workspace: Workspace) -> Iterator[Source]:
    """The files that ``text`` names, for as long as the block lasts. Relative paths are relative to ``folder``."""
    written = _of_run(text, workspace)
    if written is not None:
        yield written
    elif text.startswith(_HUB):
        yield _pulled(text)
    elif _DATASTORE.match(text) or _ASSET.match(text):
        raise ValidationException(
            f"{text} cannot be read here: it names a place in Azure.", hint="download it first, and give its local path"
        )
    elif _URL.match(text) and not text.startswith("file://"):
        with _downloaded(text, workspace) as path:
            yield Source(path, text, path.name)
    else:
        path = Path(unquote(text[7:]) if text.startswith("file://") else text.removeprefix("file:")).expanduser()
        place = os.path.abspath(folder / path)
        yield Source(_existing(Path(place)), place, os.path.basename(place))


def _of_run(text: str, workspace: Workspace) -> Source | None:
    for pattern in _RUN:
        match = re.fullmatch(pattern, text)
        if match:
            break
    else:
        return None
    name = match["run"]
    row = workspace.store.get("runs", name)
    if row is None:
        raise UserErrorException(f"There is no run {name}, which {text} names.", hint="pf run list shows the runs")
    place = Path(row["record"]["output_path"])
    output = match.groupdict().get("output") or ""
    # Azure calls all that a run left behind `artifacts`.
    inside = place / ("" if output == "artifacts" else output) / (match["path"] or "")
    if not inside.resolve().is_relative_to(place.resolve()):
        raise ValidationException(f"{text} leads out of the run's folder.")
    return Source(_existing(inside), text, inside.resolve().name, name)


def _pulled(text: str) -> Source:
    id, _, revision = text.removeprefix(_HUB).rstrip("/").partition("@")
    model = LocalModels().get(id, revision or None)
    return Source(model.folder, text, id.rpartition("/")[2], hub=f"{id}@{model.sha}")


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ValidationException(
            f"There is no file or folder {path}.", hint="paths in a file are relative to that file"
        )
    return path


@contextlib.contextmanager
def _downloaded(url: str, workspace: Workspace) -> Iterator[Path]:
    """A copy of what lies at any url that fsspec knows, in a folder that goes away."""
    import fsspec

    make_folder(workspace.home)
    place = Path(tempfile.mkdtemp(prefix=".download-", dir=workspace.home))
    target = place / (url.rstrip("/").rpartition("/")[2].partition("?")[0] or "model")
    try:
        try:
            filesystem, path = fsspec.core.url_to_fs(url)
            filesystem.get(path, str(target), recursive=not filesystem.isfile(path))
        except (ImportError, ValueError, OSError) as error:
            raise UserErrorException(f"{url} cannot be read: {error}.", hint="give a local path") from error
        yield _existing(target)
    finally:
        shutil.rmtree(place, ignore_errors=True)
