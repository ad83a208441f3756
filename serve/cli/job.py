"""`pf job`: what was sent to batch endpoints, and how it goes."""

from __future__ import annotations

import shutil
from argparse import ArgumentParser, Namespace
from pathlib import Path

from promptflow.cli import exits
from promptflow.cli.args import MAX_RESULTS, positive
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import file_error, make_folder
from serve.batch.document import job_document, output_path
from serve.batch.jobs import COMPLETED, JobStore
from serve.batch.records import OUTPUT
from serve.batch.submit import resume as go_on
from serve.cli.batch_arguments import tell_end, tell_jobs
from serve.cli.endpoint_arguments import add_cloud
from serve.cli.job_stream import follow


def list_jobs(args: Namespace, out: Output) -> None:
    jobs = _jobs()
    limit = None if args.all_results else args.max_results
    archived = True if args.archived_only else None if args.include_archived else False
    tell_jobs(out, jobs.list(limit=limit, archived=archived))


def show(args: Namespace, out: Output) -> None:
    out.result(job_document(_jobs().get(args.name)))


def stream(args: Namespace, out: Output) -> int:
    jobs = _jobs()
    jobs.get(args.name)
    return exits.OK if follow(jobs, args.name, out).status == COMPLETED else exits.ERROR


def cancel(args: Namespace, out: Output) -> None:
    job = _jobs().cancel(args.name)
    out.note(f"the job '{job.name}' is {job.status}")
    out.hint(f"pf job resume -n {job.name}")


def resume(args: Namespace, out: Output) -> int:
    jobs = _jobs()
    job = go_on(jobs.workspace, args.name)
    if args.stream:
        return tell_end(jobs, job.name, out)
    out.result(job_document(job))
    out.hint(f"pf job stream -n {job.name}")
    return exits.OK


def download(args: Namespace, out: Output) -> None:
    jobs = _jobs()
    job = jobs.get(args.name)
    if args.output_name and args.output_name not in (OUTPUT, "default"):
        raise UsageError(f"--output-name {args.output_name}: this job has no such output", hint=f"it has {OUTPUT}")
    target = Path(args.download_path).expanduser()
    done = []
    if args.all or args.output_name != "default":
        done.append(_copy(output_path(job), target / "named-outputs" / OUTPUT))
    if args.all or args.output_name == "default":
        done.append(_copy(jobs.folder(job.name) / "logs", target / "artifacts" / "logs"))
    for folder in done:
        out.note(f"downloaded to {folder}")


def archive(args: Namespace, out: Output) -> None:
    _set_archived(args.name, True, out)


def restore(args: Namespace, out: Output) -> None:
    _set_archived(args.name, False, out)


def _set_archived(name: str, archived: bool, out: Output) -> None:
    jobs = _jobs()
    jobs.get(name)
    jobs.change(name, archived=archived)
    out.note(f"the job '{name}' is {'hidden from' if archived else 'shown in'} lists")


def _copy(source: Path | None, target: Path) -> Path:
    if source is None or not source.exists():
        raise UsageError(f"there is nothing to download yet: no {source}", hint="pf job show -n NAME --query status")
    try:
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy2(source, make_folder(target) / source.name)
    except shutil.Error as error:
        raise UsageError(f"not all could be copied: {error.args[0][0][2]}") from error
    except OSError as error:
        raise file_error("write", error.filename or target, error) from error
    return target


def _jobs() -> JobStore:
    return JobStore(Workspace.open())


def _name_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-n", "--name", required=True, metavar="NAME", help="Name of the job.")
    add_cloud(parser)


def _show_arguments(parser: ArgumentParser) -> None:
    _name_arguments(parser)
    parser.add_argument("--web", action="store_true", help="Without effect: there is no page of jobs.")


def _list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-r", "--max-results", type=positive, default=MAX_RESULTS, metavar="N",
        help=f"How many to show at most ({MAX_RESULTS}).",
    )  # fmt: skip
    parser.add_argument("--all-results", action="store_true", help="Show all of them.")
    parser.add_argument("--include-archived", action="store_true", help="Archived ones as well.")
    parser.add_argument("--archived-only", action="store_true", help="Archived ones alone.")
    add_cloud(parser)


def _resume_arguments(parser: ArgumentParser) -> None:
    _name_arguments(parser)
    parser.add_argument("--stream", action="store_true", help="Wait until the job ends, with its log on stderr.")


def _download_arguments(parser: ArgumentParser) -> None:
    _name_arguments(parser)
    parser.add_argument("--output-name", metavar="OUTPUT", help=f"{OUTPUT}, or default for the logs.")
    parser.add_argument("-p", "--download-path", default=".", metavar="FOLDER", help="Where to (here).")
    parser.add_argument("--all", action="store_true", help="Outputs and logs.")


SHOW = Command(
    show, "Show a job: its status, its progress, its output.", _show_arguments,
    ("pf job show -n NAME", "pf job show -n NAME --query status -o tsv"), "json",
)  # fmt: skip
LIST = Command(list_jobs, "List jobs, newest first.", _list_arguments, ("pf job list",), "table")
STREAM = Command(
    stream, "Print the log of a job until it ends. The exit code is 1 unless it is completed.", _name_arguments,
    ("pf job stream -n NAME",),
)  # fmt: skip
CANCEL = Command(
    cancel, "Stop a job. What it has done so far stays, and `pf job resume` goes on.", _name_arguments,
    ("pf job cancel -n NAME",),
)  # fmt: skip
RESUME = Command(
    resume,
    "Go on with a job that was interrupted, canceled or has failed. Mini-batches that are done are not done again; "
    "those that failed are, unless the job was interrupted.",
    _resume_arguments, ("pf job resume -n NAME",), "json",
)  # fmt: skip
DOWNLOAD = Command(
    download, "Copy the output of a job to a folder: named-outputs/score.", _download_arguments,
    ("pf job download -n NAME --output-name score --download-path ./",),
)  # fmt: skip
ARCHIVE = Command(archive, "Hide a job from lists.", _name_arguments, ("pf job archive -n NAME",))
RESTORE = Command(restore, "Show an archived job in lists again.", _name_arguments, ("pf job restore -n NAME",))
