"""Which run a word means: its name, the unique beginning of one, `@latest` or `@latest~1`."""

from __future__ import annotations

import difflib

from promptflow.cli import style
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.client.client import PFClient
from promptflow.entities.run import Run
from promptflow.exceptions import RunNotFoundError


def find_run(client: PFClient, word: str) -> Run:
    """RunNotFoundError says which runs begin so, or are called almost so."""
    try:
        return client.runs.find(word)
    except RunNotFoundError as error:
        names = [run.name for run in client.runs.list(None, include_archived=True)]
        alike = [n for n in names if n.startswith(word)] or difflib.get_close_matches(word, names, n=3, cutoff=0.5)
        if alike:
            error.hint = f"did you mean {' or '.join(alike[:4])}?"
        else:
            error.hint = error.hint or "`pf run list` shows all"
        raise


def find_run_to_lose(client: PFClient, word: str, out: Output) -> Run:
    """As find_run, for a verb that destroys: a shortened name counts only on a terminal, where it is asked about."""
    run = find_run(client, word)
    if run.name != word and not word.startswith("@") and not style.is_terminal(out.stderr):
        raise UsageError(f"{word!r} is not the whole name of a run", hint=f"did you mean {run.name}?")
    return run
