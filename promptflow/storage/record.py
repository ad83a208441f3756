"""What is kept of a run in the table of runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunRecord:
    """One run. ``details`` holds what is only needed to show it, or to run it again."""

    name: str
    type: str
    status: str
    created_on: datetime
    output_path: Path
    start_time: datetime | None = None
    end_time: datetime | None = None
    display_name: str | None = None
    description: str | None = None
    tags: dict[str, str] | None = None
    flow: str | None = None
    data: str | None = None
    run: str | None = None
    archived: bool = False
    properties: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
