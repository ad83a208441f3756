"""What `make demo` shows: a flow on real rows, prompts compared, an evaluation, and a page with all of it.

Everything goes through the `pf` command line, in a workspace of its own: the folder ``.demo`` of the repository.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from promptflow.workspace import Workspace

EXAMPLES = Path(__file__).resolve().parent
ROOT = EXAMPLES.parent
HOME = Path(os.environ.get("PF_DEMO_DIRECTORY") or ROOT / ".demo").resolve()
FLOW, EVALUATION = "examples/prompt-variants", "examples/evaluate-labels"
DATA = f"{FLOW}/messages.csv"
VARIANTS = ("chatty", "labels", "short")
MARK = "made-by-the-demo"
MAPPING = ("label=${data.intent}", "prediction=${run.outputs.intent}")

console = Console(highlight=False, width=None if sys.stdout.isatty() else 116)
unicode = console.encoding.lower().startswith("utf")
right, wrong, block = ("✓", "✗", "█") if unicode else ("+", "-", "#")


@dataclass(frozen=True)
class Answered:
    """What one variant said to each message, and what that took."""

    texts: list[str]
    tokens: int


def main() -> None:
    started = time.monotonic()
    fresh_workspace()
    with (ROOT / DATA).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    heading(f"{len(rows)} customers wrote. What do they want?")
    console.print(
        "The embedded model answers: it is in the package, runs on this CPU and needs no key. It has never seen these\n"
        "messages. Three prompts are tried, as variants of one node.\n"
    )
    try:
        answers = {variant: ask(variant) for variant in VARIANTS}
        show_answers(rows, answers)
        heading("Which prompt is best?")
        metrics = {variant: evaluate(variant) for variant in VARIANTS}
        show_metrics(metrics, answers)
        best = max(VARIANTS, key=lambda variant: (metrics[variant]["accuracy"], -answers[variant].tokens))
        show_mistakes(rows, answers[best].texts, best)
        page = HOME / "compare.html"
        runs = [*VARIANTS, *(f"eval_{variant}" for variant in VARIANTS)]
        pf("run", "visualize", "-n", ",".join(runs), "--html-path", str(page))
    finally:
        stop_what_runs()
    console.print(f"  the runs side by side: {page.as_uri()}\n", soft_wrap=True)
    show_next(time.monotonic() - started)


def fresh_workspace() -> None:
    """An empty folder that git does not see. Only what an earlier demo made is deleted."""
    if (HOME / MARK).exists():
        shutil.rmtree(HOME)
    HOME.mkdir(parents=True, exist_ok=True)
    (HOME / MARK).touch()
    (HOME / ".gitignore").write_text("*\n")


def ask(variant: str) -> Answered:
    """Run one variant over all messages."""
    prompt = (ROOT / FLOW / f"{variant}.jinja2").read_text(encoding="utf-8")
    console.print(f"[bold]variant {variant}[/]")
    console.print("\n".join(f"  [dim]|[/] {escape(line)}" for line in prompt.splitlines()), soft_wrap=True)
    run = pf_json("run", "create", "--flow", FLOW, "--variant", f"${{classify.{variant}}}",
                  "--data", DATA, "--name", variant)  # fmt: skip
    measured = run["properties"]["system_metrics"]
    answers = pf_json("run", "show-details", "-n", variant, "-o", "json")
    console.print(f"  {len(answers)} answers in {measured['duration']:.1f} s, {measured['total_tokens']:,} tokens\n")
    return Answered([str(answer["outputs.intent"]) for answer in answers], measured["total_tokens"])


def evaluate(variant: str) -> dict[str, float]:
    """Run the evaluation flow on the run of a variant; its metrics."""
    pf_json("run", "create", "--flow", EVALUATION, "--run", variant, "--data", DATA, "--name", f"eval_{variant}",
            "--column-mapping", *MAPPING)  # fmt: skip
    metrics: dict[str, float] = pf_json("run", "show-metrics", "-n", f"eval_{variant}")
    return metrics


def show_answers(rows: list[dict[str, str]], answers: dict[str, Answered]) -> None:
    table = plain_table("message", "label", *VARIANTS)
    for column, width in zip(table.columns, (36, 15, *[17] * len(VARIANTS)), strict=True):
        column.no_wrap, column.max_width = True, width
        column.overflow = "ellipsis" if unicode else "crop"
    for index in range(1, len(rows), 7):
        label = rows[index]["intent"]
        marked = [mark(answers[variant].texts[index], label) for variant in VARIANTS]
        table.add_row(escape(rows[index]["message"]), label, *marked)
    console.print(table)
    console.print()


def mark(answer: str, label: str) -> str:
    return f"[green]{right}[/] {escape(answer)}" if answer == label else f"[red]{wrong}[/] {escape(answer)}"


def show_metrics(metrics: dict[str, dict[str, float]], answers: dict[str, Answered]) -> None:
    console.print()
    table = plain_table("", *VARIANTS)
    for name in metrics[VARIANTS[0]]:
        values = [metrics[variant][name] for variant in VARIANTS]
        style = "bold" if name == "accuracy" else ""
        table.add_row(name, *(f"{v:5g}" if name == "not_a_label" else bar(v) for v in values), style=style)
    table.add_row("tokens", *(f"{answers[variant].tokens:5}" for variant in VARIANTS))
    console.print(table)
    console.print()


def plain_table(*columns: str) -> Table:
    return Table(*columns, box=None, header_style="dim", padding=(0, 2, 0, 0))


def bar(share: float) -> str:
    return f"{share:6.1%}  {block * round(10 * share)}"


def show_mistakes(rows: list[dict[str, str]], answers: list[str], variant: str) -> None:
    mistakes = [(row, answer) for row, answer in zip(rows, answers, strict=True) if answer != row["intent"]]
    console.print(f"What [bold]{variant}[/] still gets wrong ({len(mistakes)} of {len(rows)}), for example")
    for row, answer in mistakes[:3]:
        console.print(f'  "{escape(row["message"])}" is {row["intent"]}, not {escape(answer)}', soft_wrap=True)
    console.print()


def show_next(seconds: float) -> None:
    console.print(f"[dim]That took {seconds:.0f} s.[/] Look around in this workspace:\n")
    if not shutil.which("pf"):
        console.print(f"  export PATH={Path(sys.executable).parent}:$PATH", soft_wrap=True)
    console.print(f"  export PF_HOME_DIRECTORY={HOME}", soft_wrap=True)
    for command, meaning in (
        ("pf run list -o table", "all runs of the demo"),
        ("pf run show-details -n labels", "every row of one"),
        ("pf trace list", "what each call did, and its tokens"),
        ("pf flow test --flow examples/chat --interactive", "talk to a chat flow"),
        ("pf migrate check FOLDER", "will your own flows run here unchanged?"),
    ):
        console.print(f"  {command:<50} [dim]{meaning}[/]")
    console.print("\nMore flows to read and run: examples/README.md")


def pf_json(*words: str) -> Any:
    """What a `pf` command prints, read as the JSON that it is."""
    return json.loads(pf(*words))


def pf(*words: str) -> str:
    """Run a `pf` command from the repository's folder, and show it as one would type it."""
    typed = (f"'{word}'" if "$" in word else word.replace(f"{ROOT}/", "") for word in words)
    console.print(f"  [cyan]$ pf {escape(' '.join(typed))}[/]", soft_wrap=True)
    done = subprocess.run(
        [sys.executable, "-m", "promptflow.cli.main", *words],
        cwd=ROOT,
        env={**os.environ, "PF_HOME_DIRECTORY": str(HOME)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr or f"pf {words[0]} ended with {done.returncode}")
    return done.stdout


def heading(text: str) -> None:
    console.print(f"\n[bold]{text}[/]")


def stop_what_runs() -> None:
    """The model's server would stop by itself after some idle minutes; a demo leaves nothing behind."""
    with Workspace.open(HOME) as workspace:
        for process in workspace.processes.list():
            if process.is_running:
                workspace.processes.stop(process.name)


if __name__ == "__main__":
    main()
