"""Taking in the folder of a run that was made elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from promptflow.entities.run import COMPLETED, FAILED, Run
from promptflow.exceptions import ValidationException
from promptflow.storage.folder import RunFolder

METADATA = "run_metadata.json"


def run_of_folder(source: Path, name: str | None = None, **changes: Any) -> Run:
    """A `Run` for the folder of a run, which stays where it is. What ``run_metadata.json`` says is kept.

    Raises ValidationException for a folder that is none of a run.
    """
    folder = RunFolder(source.resolve())
    if not (source / "flow_artifacts").is_dir() and not (source / METADATA).is_file():
        raise ValidationException(
            f"{source} is no folder of a run: it has neither flow_artifacts nor {METADATA}.", location=str(source)
        )
    metadata = _metadata(source)
    times = [time for record in folder.lines() for time in (record.get("start_time"), record.get("end_time")) if time]
    stamp = datetime.fromtimestamp(source.stat().st_mtime, UTC)
    fields: dict[str, Any] = {
        "name": name or metadata.get("name") or source.resolve().name,
        "status": metadata.get("status") or (COMPLETED if times or not folder.error() else FAILED),
        "created_on": _time(metadata.get("created_on")) or _time(min(times, default=None)) or stamp,
        "start_time": _time(metadata.get("start_time")) or _time(min(times, default=None)),
        "end_time": _time(metadata.get("end_time")) or _time(max(times, default=None)),
        "display_name": metadata.get("display_name") or source.resolve().name,
        "description": metadata.get("description"),
        "tags": metadata.get("tags"),
    }
    given = {key: value for key, value in changes.items() if value is not None}
    return Run(
        **{**fields, **given},
        flow=folder.path / "snapshot",
        flow_name=metadata.get("flow_name") or fields["name"],
        source=folder.path,
        output_path=folder.path,
        properties={"system_metrics": (metadata.get("properties") or {}).get("system_metrics") or _counts(folder)},
    )


def _metadata(source: Path) -> dict[str, Any]:
    try:
        found = orjson.loads((source / METADATA).read_bytes())
    except FileNotFoundError:
        return {}
    except orjson.JSONDecodeError as error:
        raise ValidationException(f"{METADATA} is no valid JSON: {error}", location=str(source / METADATA)) from error
    return found if isinstance(found, dict) else {}


def _counts(folder: RunFolder) -> dict[str, int]:
    completed = failed = 0
    for record in folder.lines():
        completed += record.get("status") == COMPLETED
        failed += record.get("status") != COMPLETED
    return {"__pf__.lines.completed": completed, "__pf__.lines.failed": failed}


def _time(text: str | None) -> datetime | None:
    time = datetime.fromisoformat(text) if text else None
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time
