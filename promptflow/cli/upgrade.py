"""`pf upgrade`: no network, only the words."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from promptflow._version import __version__
from promptflow.cli.args import add_yes
from promptflow.cli.command import Command
from promptflow.cli.output import Output


def upgrade(args: Namespace, out: Output) -> None:
    out.note(f"promptflow {__version__} is installed. pf opens no connections, so it does not look for newer ones.")
    out.note("To upgrade, run:")
    out.text(f"{sys.executable} -m pip install --upgrade promptflow")


def _arguments(parser: ArgumentParser) -> None:
    add_yes(parser)


UPGRADE = Command(upgrade, "Print the command that upgrades this installation.", _arguments)
