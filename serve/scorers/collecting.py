"""What scripts keep by ``azureml.ai.monitoring.Collector``: lines of JSON in the folders of the deployment's
collections, written beside the requests, as the gateway's own collector writes those that it captures."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from queue import Full, Queue
from typing import Any
from zlib import crc32

from promptflow.exceptions import MissingExtraError
from promptflow.workspace.atomic import make_folder
from serve.endpoints.spec import SCRIPT, Collection, Collector, Spec
from serve.gateway.collect import FORMATS
from serve.gateway.parquet import to_parquet
from serve.scorers.answers import to_json

WAITING = 1000  # events that are not written yet; what comes then is dropped, and counted
_USED = re.compile(rb"Collector\(\s*name\s*=\s*[\"']([\w-]+)[\"']")

logger = logging.getLogger(__name__)


def left_to_gateway(spec: Spec) -> Collector | None:
    """The deployment's collector without the collections that its script writes itself."""
    if spec.collector is None or spec.kind != SCRIPT or spec.code is None:
        return spec.collector
    own = _written_by(spec.code)
    left = {name: one for name, one in spec.collector.collections.items() if name not in own}
    return replace(spec.collector, collections=left)


def folders(spec: Spec, place: Path) -> dict[str, Path]:
    """Where the collections are that the script writes itself; ``place`` is the deployment's folder."""
    if spec.collector is None or spec.kind != SCRIPT or spec.code is None:
        return {}
    own = _written_by(spec.code)
    return {name: folder_of(one, place / name) for name, one in spec.collector.collections.items() if name in own}


def folder_of(collection: Collection, usual: Path) -> Path:
    """What the YAML says, where that is on this machine."""
    path = collection.path.removeprefix("file:")
    return Path(path) if path.startswith("/") else usual


@lru_cache(256)
def _written_by(code: Path) -> frozenset[str]:
    """The collections that a folder of code names; such a copy never changes."""
    return frozenset(name.decode() for file in code.rglob("*.py") for name in _USED.findall(file.read_bytes()))


class Collecting:
    """The collections of one instance. ``keep`` is called by requests and returns at once."""

    def __init__(self, settings: Collector, folder: Path, source: str, instance: str) -> None:
        self._settings, self._folder, self._source, self._instance = settings, folder, source, instance
        self._waiting: Queue[tuple[Path, str, bytes]] = Queue(WAITING)
        self.dropped = 0
        threading.Thread(target=self._write, daemon=True, name="collect").start()

    @classmethod
    def of(cls, spec: Spec, environ: Mapping[str, str]) -> Collecting | None:
        home = environ.get("PF_HOME_DIRECTORY")
        if spec.collector is None or not home:
            return None
        endpoint, deployment = environ.get("PF_ENDPOINT_NAME", ""), environ.get("PF_DEPLOYMENT_NAME", "")
        folder = Path(home) / "endpoints" / "collected" / endpoint / deployment
        source = f"/endpoints/{endpoint}/deployments/{deployment}"
        return cls(spec.collector, folder, source, environ.get("PF_INSTANCE", "0"))

    def keep(self, name: str, data: Any, id: str) -> None:
        """One event of the collection ``name``. What goes with one id is kept all or not at all."""
        collection = self._settings.collections.get(name)
        if collection is None or not collection.enabled or crc32(id.encode()) / 2**32 >= self._settings.sampling_rate:
            return
        now = datetime.now(UTC)
        event = {
            "specversion": "1.0",
            "id": f"{id}-{name}",
            "source": self._source,
            "type": f"azureml.inference.{name.removeprefix('model_')}",
            "datacontenttype": "application/json",
            "time": now,
            "correlationid": id,
            "xrequestid": id,
            "data": data,
        }
        folder = folder_of(collection, self._folder / name)
        layout = FORMATS.get(self._settings.rolling_rate, FORMATS["hour"])
        try:
            # A file of its own: whoever makes Parquet of one must be the only one that writes to it.
            self._waiting.put_nowait((folder, f"{now.strftime(layout)}-{self._instance}", to_json(event)))
        except Full:
            self.dropped += 1

    def flush(self) -> None:
        """Wait until all that was kept is written."""
        self._waiting.join()

    def _write(self) -> None:
        open_: dict[Path, Path] = {}  # by the folder of a collection: the file that is being written
        while True:
            folder, name, line = self._waiting.get()
            try:
                file = folder / f"{name}.jsonl"
                before = open_.get(folder, file)
                open_[folder] = file
                _append(file, line)
                if before != file:
                    _roll(before)
            except OSError as error:
                self.dropped += 1
                logger.warning("what the script keeps is lost: %s", error)
            finally:
                self._waiting.task_done()


def _append(file: Path, line: bytes) -> None:
    make_folder(file.parent)
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "ab") as opened:
        opened.write(line + b"\n")


def _roll(file: Path) -> None:
    """A file whose time is over becomes Parquet, where pyarrow is there to do it."""
    try:
        to_parquet(file)
    except MissingExtraError:
        pass
    except Exception as error:
        logger.warning("%s stays as it is: %s", file, error)
