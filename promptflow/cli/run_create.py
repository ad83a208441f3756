"""`pf run create`."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from promptflow.batch.options import CACHE_MODES, OPTION_NAMES
from promptflow.cli import exits
from promptflow.cli.args import KeyValues, add_environment_variables, add_init, add_set
from promptflow.cli.command import Command
from promptflow.cli.errors import report_lines
from promptflow.cli.gates import ANY, parse_fail_on
from promptflow.cli.names import find_run
from promptflow.cli.output import Output
from promptflow.cli.overrides import apply, parse_value
from promptflow.cli.progress import progress
from promptflow.cli.run import failed_lines, metadata, record, total_lines
from promptflow.client.client import PFClient
from promptflow.client.follow import summary
from promptflow.client.run_yaml import load_run
from promptflow.entities.run import Run
from promptflow.exceptions import UserErrorException
from promptflow.workspace.yamlfile import load_yaml

_SPEC_KEYS = (
    "name display_name description tags properties flow data run column_mapping variant environment_variables "
    "connections init overrides resources identity runtime"
).split() + list(OPTION_NAMES)

_MISSES = 5  # calls that a replay made in vain, shown


def create(args: Namespace, out: Output) -> int:
    sources = [s for s in ("file", "flow", "source", "resume_from") if getattr(args, s)]
    if len(sources) > 1:
        raise UserErrorException("give one of --file, --flow, --source and --resume-from, not several")
    if not sources:
        raise UserErrorException(
            "To create a run, one of [file, flow, source] must be specified.", hint="add --flow FOLDER"
        )
    client = PFClient()
    if args.resume_from:
        return _resume_from(client, args, out)
    if args.source:
        run = client.runs.import_folder(args.source, name=args.name, **metadata(args.overrides or {}))
        out.result(record(run))
        return exits.OK
    spec = _spec(client, args)
    if args.dry_run:
        out.result(spec)
        return exits.OK
    with progress(out, args.stream) as shown, out.stdout_kept():
        run = _submit(client, args, spec, shown)
    return tell(client, run, args, out)


def _resume_from(client: PFClient, args: Namespace, out: Output) -> int:
    old = find_run(client, args.resume_from)
    changes = metadata(args.overrides or {})
    with progress(out, args.stream) as shown, out.stdout_kept():
        run = client.runs.resume_from(old.name, name=args.name, progress=shown, **changes)
    return tell(client, run, args, out)


def _spec(client: PFClient, args: Namespace) -> dict[str, Any]:
    """The effective specification: the file's values, the flags' over them, `--set` over all."""
    spec: dict[str, Any] = {}
    if args.file:
        spec, _ = load_yaml(Path(args.file))
        spec = dict(spec) if isinstance(spec, dict) else {}
    flags = {
        "flow": args.flow,
        "name": args.name,
        "variant": args.variant,
        "data": args.data,
        "run": find_run(client, args.run).name if args.run else None,
        "column_mapping": args.column_mapping,
        "environment_variables": args.environment_variables,
        "connections": apply({}, args.connections, typed=False) if args.connections else None,
        "init": args.init,
        **{name: getattr(args, name) for name in OPTION_NAMES if hasattr(args, name)},
    }
    spec.update({key: value for key, value in flags.items() if value is not None})
    nodes, rest = _split(args.overrides)
    spec = apply(spec, rest, known=_SPEC_KEYS)
    return {**spec, "overrides": {**spec.get("overrides", {}), **nodes}} if nodes else spec


def _split(overrides: dict[str, str] | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Those of nodes of the flow, and those of the run."""
    nodes = {
        path: parse_value(text) for path, text in (overrides or {}).items() if path.startswith(("nodes[", "nodes."))
    }
    return nodes, {path: text for path, text in (overrides or {}).items() if path not in nodes}


def _submit(client: PFClient, args: Namespace, spec: dict[str, Any], shown: Any) -> Run:
    if args.file:
        given, _ = load_yaml(Path(args.file))
        changed = {key: value for key, value in spec.items() if not isinstance(given, dict) or given.get(key) != value}
        run = load_run(args.file, params_override=[_rebased(changed, args)])
        return client.runs.create_or_update(run, progress=shown)
    known = {key: value for key, value in spec.items() if key not in ("resources", "identity", "runtime")}
    return client.run(progress=shown, **known)


def _rebased(changed: dict[str, Any], args: Namespace) -> dict[str, Any]:
    """`--data` beside `--file` is relative to the file, as it always was, unless it is there as given."""
    data = changed.get("data")
    if isinstance(data, str) and "://" not in data and not Path(data).exists():
        changed["data"] = str(Path(args.file).parent / data)
    return changed


def tell(client: PFClient, run: Run, args: Namespace, out: Output) -> int:
    """Show the record; the exit code says whether rows failed."""
    if args.stream:
        out.stderr.write(summary(run))
    out.result(record(run))
    compat = os.environ.get("PF_COMPAT", "").startswith("1.")
    if run.status == "Canceled":
        out.note(f"resume with: pf run resume {run.name}")
        return exits.INTERRUPTED
    if run.status == "Failed":
        out.note(
            report_lines(_first_error(run) or "the run failed", hint=f"pf run show -n {run.name}"),
            "red",
        )
        return exits.OK if compat and not args.stream else exits.ERROR
    failed, total = failed_lines(run) or 0, total_lines(run)
    if failed:
        out.note(f"{failed} of {total} rows failed; run them again with: pf run retry {run.name}", "yellow")
        out.note(f"  the first error: {_first_error(run)}", "yellow")
    broken = _aggregation_error(run)
    if broken:
        out.note(report_lines(f"the aggregation failed: {broken}", hint=f"pf run show -n {run.name}"), "red")
    if run._replay and (misses := client.runs.replay_misses(run)):
        _show_misses(misses, out)
        return exits.INTEGRITY
    out.hint(f"pf run show-details -n {run.name}")
    if compat:
        return exits.OK
    if args.fail_on.fails(failed, total):
        return exits.ROWS_FAILED
    return exits.ERROR if broken else exits.OK


def _show_misses(misses: list[dict[str, str]], out: Output) -> None:
    for miss in misses[:_MISSES]:
        out.note(report_lines(miss["message"], miss["location"], miss["hint"]), "red")
    if len(misses) > _MISSES:
        out.note(f"and {len(misses) - _MISSES} more", "red")


def _first_error(run: Run) -> str:
    """Of the error of a whole run, what went wrong first."""
    message = str(run.folder.error().get("message") or "")
    return message.partition("First error message is: ")[2] or message


def _aggregation_error(run: Run) -> str:
    """What the aggregation ended with, if it did: the run is Completed, but without its metrics."""
    for info in run.folder.error().get("additionalInfo") or ():
        for entry in info["info"].get("errors") or ():
            if "aggregation_node_name" in entry:
                return str(entry["error"].get("message"))
    return ""


def ending_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-s", "--stream", action="store_true", help="Print the log of the run (on stderr).")
    parser.add_argument(
        "--fail-on", type=parse_fail_on, default=ANY, metavar="any|N|N%|never",
        help="From how many failed rows on the exit code is 3 (any).",
    )  # fmt: skip


def _option_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--concurrency", type=int, metavar="N", help="Lines at once; without it, it adapts.")
    parser.add_argument("--workers", type=int, metavar="N", help="Run the lines in N processes of their own.")
    parser.add_argument("--memory-limit", metavar="SIZE", help="Memory that each worker may use: 512MB, 2GB.")
    parser.add_argument("--line-timeout", type=float, metavar="SECONDS", help="Longest time for one line (600).")
    parser.add_argument("--cache", choices=CACHE_MODES, help="How results of nodes are reused (auto).")
    parser.add_argument("--record", action="store_true", default=None, help="Keep every model call for a replay.")
    parser.add_argument(
        "--record-http", nargs="+", metavar="PATTERN", help="Record calls to URLs like https://api.example.com/* too."
    )
    parser.add_argument("--compute", metavar="WHERE", help="Run the lines elsewhere: ray, ray://auto, ray://host:port.")
    parser.add_argument(
        "--export", metavar="FILE", help="At the end, write the rows there: .csv, .jsonl, .parquet, a url."
    )


def _create_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-f", "--file", help="A run YAML file; flags and --set win over it.")
    parser.add_argument("--flow", help="A flow folder or file, a .prompty, or module:function.")
    parser.add_argument("--data", help="The data: csv, tsv, json, jsonl, parquet, a folder or a url.")
    parser.add_argument("--run", metavar="NAME", help="A run whose outputs (and data) are read as well.")
    parser.add_argument(
        "--column-mapping", action=KeyValues, nargs="+", metavar="INPUT=SOURCE",
        help="Where inputs come from: ${data.x}, ${run.inputs.x}, ${run.outputs.x} or a constant.",
    )  # fmt: skip
    parser.add_argument("-n", "--name", help="Name of the run; made up without it.")
    parser.add_argument("--variant", metavar="${NODE.VARIANT}", help="The variant to run.")
    parser.add_argument(
        "--connections", action=KeyValues, nargs="+", metavar="NODE.KEY=VALUE",
        help="Connections and models of nodes: ask.connection=mine ask.model=gpt-4o.",
    )  # fmt: skip
    add_environment_variables(parser)
    add_init(parser)
    add_set(parser, "Set anything of the run specification: tags.team=search column_mapping.q='${data.q}'.")
    _option_arguments(parser)
    parser.add_argument(
        "--resume-from", metavar="NAME", help="Make a new run of that one, of its failed and absent rows only."
    )
    parser.add_argument("--source", metavar="FOLDER", help="The folder of a run from elsewhere, to take in.")
    parser.add_argument("--dry-run", action="store_true", help="Show the specification and run nothing.")
    ending_arguments(parser)


CREATE = Command(
    create, "Run a flow over the rows of a data file, and wait for its end.", _create_arguments,
    (
        "pf run create --flow my_flow --data rows.jsonl --column-mapping question='${data.q}'",
        "pf run create -f run.yaml --set tags.team=search",
        "pf run create --flow evaluate --data rows.jsonl --run @latest --column-mapping answer='${run.outputs.answer}'",
    ),
    "json",
)  # fmt: skip
