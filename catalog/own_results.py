"""What the runs of this workspace measured with a model: those that called it, and those that evaluate them."""

from __future__ import annotations

from dataclasses import dataclass

from catalog.runs import RunSearch
from promptflow.tracing.store import TraceStore
from promptflow.workspace import Workspace

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens", "duration")
_MODEL = "llm.response.model"


@dataclass(frozen=True)
class OwnResult:
    """One run: its metrics, and the run that it evaluates, if it does."""

    run: str
    evaluates: str
    flow: str
    created: str
    metrics: dict[str, float]


def own_results(workspace: Workspace, model: str, limit: int = 5) -> list[OwnResult]:
    """Of runs that have metrics of their own, newest first; counts of tokens and lines are none.

    ``model`` is the name that its server answered with, so that an alias of it is another model.
    """
    TraceStore(workspace).ingest()
    attribute = f"CAST(attributes AS json) ->> '{_MODEL}'"
    if workspace.db.is_sqlite:
        attribute = f"json_extract(attributes, '$.\"{_MODEL}\"')"
    called = (
        "SELECT DISTINCT run FROM spans WHERE run IS NOT NULL AND kind IN ('LLM', 'Embedding')"
        f" AND ({attribute} = :model OR substr({attribute}, 1, :length) IN (:adapted, :exact))"
    )
    rows = workspace.store.select(
        "runs",
        f"SELECT name, parent FROM runs WHERE name IN ({called}) OR parent IN ({called})"
        " ORDER BY created DESC LIMIT 50",
        model=model,
        adapted=f"{model}@",  # with any adapter
        exact=f"{model}:",  # of any version, as local servers answer
        length=len(model) + 1,
    )
    search = RunSearch(workspace)
    found: list[OwnResult] = []
    for row in rows:
        if len(found) == limit:
            break
        for run in search.find(f"name = '{row['name']}'"):
            metrics = {name: value for name, value in run.metrics.items() if not _is_count(name)}
            if metrics:
                found.append(OwnResult(run.name, row["parent"] or "", run.flow or "", run.created, metrics))
    return found


def _is_count(name: str) -> bool:
    return name.startswith("__pf__.") or name in _COUNTS
