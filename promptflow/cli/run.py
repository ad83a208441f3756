"""`pf run`: everything about runs but their creation."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from promptflow.cli import exits, style
from promptflow.cli.args import add_name, add_paging, add_set, add_yes
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.names import find_run, find_run_to_lose
from promptflow.cli.output import Output
from promptflow.cli.overrides import nearest_hint
from promptflow.client.client import PFClient
from promptflow.entities.run import CANCELED, COMPLETED, FAILED, Run

_LIST_COLUMNS = ("name", "status", "failed_lines", "created_on", "flow_name", "display_name", "tags", "data")
_LIST_PRIORITY = ("name", "status", "failed_lines", "created_on", "flow_name")
_SETTABLE = ("display_name", "description", "tags")


def record(run: Run, **options: Any) -> dict[str, Any]:
    """The record of a run, with how many of its rows failed beside the status."""
    fields = run._to_dict(**options)
    failed = failed_lines(run)
    if failed is None:
        return fields
    items = list(fields.items())
    at = next((i for i, (key, _) in enumerate(items) if key == "status"), 0) + 1
    return dict([*items[:at], ("failed_lines", failed), *items[at:]])


def failed_lines(run: Run) -> int | None:
    """None for a run that has not got to its rows."""
    return _count(run, "failed")


def total_lines(run: Run) -> int:
    return (_count(run, "failed") or 0) + (_count(run, "completed") or 0)


def _count(run: Run, what: str) -> int | None:
    metrics = run.properties.get("system_metrics")
    return metrics.get(f"__pf__.lines.{what}") if isinstance(metrics, dict) else None


def _named(parser: ArgumentParser) -> None:
    add_name(parser, "run")


def show(args: Namespace, out: Output) -> None:
    out.result(record(find_run(PFClient(), args.name)))


def list_runs(args: Namespace, out: Output) -> None:
    runs = PFClient().runs.list(
        None if args.all_results else args.max_results,
        archived_only=args.archived_only,
        include_archived=args.include_archived,
    )
    rows = [record(run, exclude_additional_info=True, exclude_debug_info=True) for run in runs]
    if out.format == "table":
        rows = [{**row, "created_on": row["created_on"][:19].replace("T", " ")} for row in rows]
    out.result(rows, columns=_LIST_COLUMNS if out.format in ("table", "tsv") else (), priority=_LIST_PRIORITY)
    if runs and not args.all_results and len(runs) == args.max_results:
        out.hint(f"the newest {len(runs)} runs; --all-results shows all")


def _list_arguments(parser: ArgumentParser) -> None:
    add_paging(parser)
    parser.add_argument("--archived-only", action="store_true", help="Only archived runs.")
    parser.add_argument("--include-archived", action="store_true", help="Archived runs as well.")


def update(args: Namespace, out: Output) -> None:
    client = PFClient()
    run = find_run(client, args.name)
    changes = metadata(args.overrides or {})
    out.result(record(client.runs.update(run.name, **changes)))


def metadata(overrides: dict[str, str]) -> dict[str, Any]:
    """`display_name`, `description` and `tags.KEY` of a run, as texts. UsageError for anything else."""
    changes: dict[str, Any] = {}
    for path, value in overrides.items():
        head, _, key = path.partition(".")
        if head not in _SETTABLE:
            raise UsageError(f"--set {path}: a run has no {head!r} to set", hint=nearest_hint(head, _SETTABLE))
        if (head == "tags") != bool(key):
            raise UsageError(f"--set {path}: this is no path", hint="write tags.KEY=value, display_name=value")
        if key:
            changes.setdefault("tags", {})[key] = value
        else:
            changes[head] = value
    return changes


def _update_arguments(parser: ArgumentParser) -> None:
    _named(parser)
    add_set(parser, "What to change: display_name=..., description=..., tags.KEY=...")


def stream(args: Namespace, out: Output) -> int:
    client = PFClient()
    run = find_run(client, args.name)
    run = client.runs.stream(run.name, raise_on_error=False, file=out.stderr)
    out.result(record(run))
    if run.status in (COMPLETED, FAILED):
        return exits.OK if run.status == COMPLETED else exits.ERROR
    out.note(f"resume with: pf run resume {run.name}")
    return exits.OK if run.status == CANCELED else exits.ERROR


def show_details(args: Namespace, out: Output) -> None:
    client = PFClient()
    run = find_run(client, args.name)
    rows = client.runs.details_rows(run.name, args.max_results, args.all_results)
    out.result(rows, name="inputs.line_number")
    total = total_lines(run)
    if not args.all_results and len(rows) < total:
        out.note(f"{len(rows)} of {total} rows; --all-results shows all", "dim")


def _details_arguments(parser: ArgumentParser) -> None:
    _named(parser)
    add_paging(parser, default=100)


def show_metrics(args: Namespace, out: Output) -> None:
    client = PFClient()
    out.result(client.runs.get_metrics(find_run(client, args.name).name))


def visualize(args: Namespace, out: Output) -> None:
    client = PFClient()
    names = [find_run(client, name.strip()).name for name in args.names.split(",") if name.strip()]
    if not names:
        raise UsageError("no run is named", hint="pf run visualize --names first,second")
    path = args.html_path
    if path is None and not style.is_terminal(out.stdout):
        path = str(client.runs.get(names[0]).folder.path / "visualize.html")  # no terminal: no browser either
    out.text(str(client.runs.visualize(names, html_path=Path(path) if path else None)))


def _visualize_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-n", "--names", required=True, help="Names of the runs, separated by commas.")
    parser.add_argument("--html-path", help="Where to write the page; without it, it is opened in a browser.")


def archive(args: Namespace, out: Output) -> None:
    client = PFClient()
    out.result(record(client.runs.archive(find_run(client, args.name).name)))


def restore(args: Namespace, out: Output) -> None:
    client = PFClient()
    out.result(record(client.runs.restore(find_run(client, args.name).name)))


def delete(args: Namespace, out: Output) -> int:
    client = PFClient()
    run = find_run_to_lose(client, args.name, out)
    if not out.confirm(f"Delete run {run.name} and its files for good?", args.yes):
        out.note("not deleted")
        return exits.ERROR
    client.runs.delete(run.name)
    out.note(f"deleted run {run.name}")
    return exits.OK


def _delete_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-n", "--name", required=True, metavar="NAME", help="Name of the run.")
    add_yes(parser)


SHOW = Command(show, "Show the record of a run.", _named, ("pf run show -n @latest",), "json")
LIST = Command(
    list_runs,
    "List runs, newest first.",
    _list_arguments,
    ("pf run list -r 10 -o table", "pf run list -o quiet"),
    "json",
)
UPDATE = Command(
    update, "Change the display name, description or tags of a run.", _update_arguments,
    ("pf run update -n my_run --set display_name='First try' tags.team=search",), "json",
)  # fmt: skip
STREAM = Command(
    stream,
    "Print the log of a run until it ends (on stderr), then its record.",
    _named,
    ("pf run stream -n @latest",),
    "json",
)
SHOW_DETAILS = Command(
    show_details, "Show the inputs and outputs of a run, a line per row.", _details_arguments,
    ("pf run show-details -n @latest", "pf run show-details -n my_run --all-results -o tsv > rows.tsv"), "table",
)  # fmt: skip
SHOW_METRICS = Command(show_metrics, "Show the metrics of a run.", _named, ("pf run show-metrics -n @latest",), "json")
VISUALIZE = Command(
    visualize, "Write an HTML page that compares runs side by side.", _visualize_arguments,
    ("pf run visualize -n first,second --html-path compare.html",),
)  # fmt: skip
ARCHIVE = Command(archive, "Hide a run from lists; its files stay.", _named, ("pf run archive -n my_run",), "json")
RESTORE = Command(restore, "Bring an archived run back.", _named, ("pf run restore -n my_run",), "json")
DELETE = Command(
    delete, "Delete a run and its files for good. Asks on a terminal, needs -y without one.", _delete_arguments,
    ("pf run delete -n my_run -y",),
)  # fmt: skip
