"""`pf migrate check`: what in a folder runs unchanged here, and what does not."""

from promptflow.cli.migrate.check import check
from promptflow.cli.migrate.findings import Entry, Finding, Verdict

__all__ = ["Entry", "Finding", "Verdict", "check"]
