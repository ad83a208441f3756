"""Door: the entry point of `pf` under its old private spelling."""

from promptflow.cli.main import main

__all__ = ["main"]
