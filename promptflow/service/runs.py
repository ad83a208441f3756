"""``/v1.0/Runs``: batch runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Body, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool

from promptflow.client import PFClient
from promptflow.client.visualize import render_page
from promptflow.contracts.flow import DAG_FILES, FLEX_FILES
from promptflow.entities.run import Run
from promptflow.exceptions import PromptflowException, ValidationException
from promptflow.service.answers import answered
from promptflow.service.parent import in_child
from promptflow.storage.folder import SNAPSHOT, RunFolder

MOST = 50
_MOST_FORM = 1 << 20


def routes(client: PFClient) -> APIRouter:
    """The routes of runs."""
    router = APIRouter(prefix="/v1.0/Runs", tags=["Runs"])
    _of_records(router, client)
    _of_results(router, client)
    return router


def _of_records(router: APIRouter, client: PFClient) -> None:
    runs = client.runs

    @router.get("/")
    def list_runs(
        max_results: int = MOST,
        all_results: bool = False,
        archived_only: bool = False,
        include_archived: bool = False,
    ) -> Response:
        """List runs, newest first."""
        most = None if all_results else max(0, min(max_results, 2**31))
        found = runs.list(most, archived_only=archived_only, include_archived=include_archived)
        return answered([run._to_dict() for run in found])

    @router.post("/submit")
    def submit_run(data: Annotated[dict[str, Any], Body()]) -> Response:
        """Make a run of the keys of its YAML, and wait for its end. Paths are whole ones."""
        _check_paths(data)
        return answered(runs.get(in_child(client.workspace, {"verb": "submit", "run": data}))._to_dict())

    @router.get("/{name}")
    def get_run(name: str) -> Response:
        """One run."""
        return answered(runs.get(name)._to_dict())

    @router.put("/{name}")
    async def update_run(name: str, request: Request) -> Response:
        """Change the display_name, the description or the tags, which are JSON, of a run: a form."""
        described = _described(await _form(request))
        return answered(await run_in_threadpool(lambda: runs.update(name, **described)._to_dict()))

    @router.delete("/{name}", status_code=204)
    def delete_run(name: str) -> Response:
        """Delete a run with its folder."""
        runs.delete(name)
        return Response(status_code=204)

    @router.get("/{name}/archive")
    def archive_run(name: str) -> Response:
        """Hide a run from lists."""
        return answered(runs.archive(name)._to_dict())

    @router.get("/{name}/restore")
    def restore_run(name: str) -> Response:
        """Show a run in lists again."""
        return answered(runs.restore(name)._to_dict())


def _of_results(router: APIRouter, client: PFClient) -> None:
    runs = client.runs

    @router.get("/{name}/childRuns")
    def list_lines(name: str) -> Response:
        """The records of its lines."""
        return answered([*runs.get(name).folder.lines()])

    @router.get("/{name}/nodeRuns/{node}")
    def list_nodes(name: str, node: str) -> Response:
        """The records of a node, of all lines, or the one of an aggregation node."""
        folder = runs.get(name).folder
        found = [*_records(folder, node)]
        of_all = folder.aggregation().get(node) if not found else None
        return answered([of_all] if of_all else found)

    @router.get("/{name}/metaData")
    def get_metadata(name: str) -> Response:
        """What describes a run, its metrics and its flow."""
        return answered(_metadata(runs.get(name), client))

    @router.get("/{name}/logContent")
    def get_log(name: str) -> Response:
        """The log of a run."""
        return PlainTextResponse(runs.get(name).folder.log())

    @router.get("/{name}/metrics")
    def get_metrics(name: str) -> Response:
        """What the aggregation logged."""
        return answered(runs.get(name).folder.metrics())

    @router.get("/{name}/visualize")
    def visualize(name: str) -> Response:
        """The page that shows a run."""
        run = runs.get(name)
        run.check_completed()
        return HTMLResponse(render_page([run]))


def _check_paths(data: Mapping[str, Any]) -> None:
    for key in ("flow", "data"):
        value = data.get(key)
        if isinstance(value, str) and "://" not in value and not Path(value).is_absolute():
            raise ValidationException(f"{key} is {value!r}, a relative path.", hint="the whole path on this machine")


def _records(folder: RunFolder, node: str) -> Iterator[dict[str, Any]]:
    for _, nodes in folder.lines_with_nodes():
        if node in nodes:
            yield nodes[node]


def _metadata(run: Run, client: PFClient) -> dict[str, Any]:
    snapshot = run.folder.path / SNAPSHOT
    return {
        "name": run.name,
        "display_name": run.display_name,
        "create_time": run.created_on,
        "flow_path": run.properties.get("flow_path"),
        "output_path": run.properties.get("output_path"),
        "tags": run.tags,
        "lineage": run._to_dict().get("run"),
        "metrics": run.folder.metrics(),
        "dag": next((_text(snapshot / name) for name in (*DAG_FILES, *FLEX_FILES) if (snapshot / name).is_file()), ""),
        "mode": "",
        "flow_tools_json": _tools(snapshot, client),
    }


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _tools(snapshot: Path, client: PFClient) -> Any:
    """What is known of the tools in the files of a flow, by those who made the copy, or from the files."""
    try:
        return json.loads((snapshot / ".promptflow" / "flow.tools.json").read_bytes())
    except (OSError, ValueError):
        pass
    try:
        return {"package": {}, "code": client.tools.list(snapshot)["code"]}
    except PromptflowException:  # no flow of nodes
        return {}


async def _form(request: Request) -> dict[str, str]:
    """The last value of each field of a form that is not sent in parts."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_FORM:
            raise ValidationException(f"The form is larger than {_MOST_FORM} bytes.")
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _described(form: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {name: form[name] for name in ("display_name", "description") if name in form}
    if "tags" in form:
        try:
            tags = json.loads(form["tags"])
        except ValueError as error:
            raise ValidationException(f"tags is no JSON: {error}.") from error
        if not isinstance(tags, dict):
            raise ValidationException("tags is a mapping of names to values, as JSON.")
        found["tags"] = tags
    return found
