from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from promptflow._version import __version__
from promptflow.cli.command import Command
from promptflow.cli.commands import COMMANDS, Group, Verb
from tests.promptflow.cli.conftest import Pf

VERBS = {
    f"{name} {verb}".strip(): found
    for name, entry in COMMANDS.items()
    for verb, found in (entry.verbs.items() if isinstance(entry, Group) else [("", entry)])
}


@pytest.mark.parametrize("flag", ["--version", "-v"])
def test_the_version_is_json(pf: Pf, flag: str) -> None:
    code, out, err = pf(flag)
    assert (code, json.loads(out), err) == (0, {"promptflow": __version__}, "")


@pytest.mark.parametrize("words", [[], ["-h"], ["flow"], ["flow", "--help"], ["run", "create", "-h"], ["doctor", "-h"]])
def test_help_is_a_result(pf: Pf, words: list[str]) -> None:
    code, out, err = pf(*words)
    assert code == 0
    assert out.startswith("usage: pf")
    assert err == ""


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["flwo"], "did you mean flow?"),
        (["run", "crate"], "did you mean create?"),
        (["run", "show"], "pf run show -h"),
        (["run", "list", "-r", "0"], "pf run list -h"),
        (["flow", "test", "--flow", "f", "--inputs", "novalue.txt"], "pf flow test -h"),
        (["run", "create", "--flow", "f", "--column-mapping", "x"], "pf run create -h"),
    ],
)
def test_a_wrong_command_line_is_exit_2_with_a_hint(pf: Pf, project: Path, words: list[str], hint: str) -> None:
    code, out, err = pf(*words)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert hint in err.splitlines()[-1]


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_of_the_table_is_there(name: str) -> None:
    module, _, attribute = VERBS[name].target.partition(":")
    assert isinstance(getattr(importlib.import_module(module), attribute), Command)


@pytest.mark.parametrize(
    "name",
    """flow init|flow save|flow test|flow serve|flow build|flow validate|run create|run update|run stream|run list
    |run show|run show-details|run show-metrics|run visualize|run build|run archive|run restore|run delete|connection create
    |connection update|connection show|connection list|connection delete|config set|config show|tool init|tool list
    |tool validate|trace delete|service start|service stop|service status|upgrade""".split("|"),
)
def test_the_verbs_of_promptflow_1_are_kept(name: str) -> None:
    assert isinstance(VERBS[name.strip()], Verb)


def test_upgrade_only_says_how(pf: Pf) -> None:
    code, out, err = pf("upgrade", "-y")
    assert code == 0
    assert out.strip().endswith("-m pip install --upgrade promptflow")
