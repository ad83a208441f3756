"""`pf completion`: scripts for shells, and the words they ask for."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from promptflow.cli.command import Command
from promptflow.cli.commands import COMMANDS, Group, Verb
from promptflow.cli.dispatch import build_parser, load
from promptflow.cli.output import Output
from promptflow.workspace import Workspace

if TYPE_CHECKING:
    from promptflow.contracts.flow import Flow

_BASH = """_pf_complete() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$(printf %q "$word")")
    done < <(pf completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _pf_complete pf
"""

_ZSH = """#compdef pf
_pf() {
    local -a found
    found=("${(@f)$(pf completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -a found; else _files; fi
}
compdef _pf pf
"""

_FISH = """function __pf_words
    set -l typed (commandline -opc) (commandline -ct)
    pf completion words -- $typed[2..-1] 2>/dev/null
end
complete -c pf -a '(__pf_words)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(args: Namespace, out: Output) -> None:
    if args.shell == "words":
        out.text("\n".join(complete(args.words)))
    else:
        out.text(SCRIPTS[args.shell].rstrip("\n"))


def complete(words: list[str]) -> list[str]:
    """What the last of ``words`` (the one being typed, perhaps empty) can become."""
    *before, typed = words or [""]
    entry = COMMANDS.get(before[0]) if before else None
    if not before:
        found = list(COMMANDS)
    elif isinstance(entry, Group) and len(before) == 1:
        found = list(entry.verbs)
    elif entry is None:
        found = []
    else:
        verb = entry.verbs.get(before[1]) if isinstance(entry, Group) else entry
        path = before[: 2 if isinstance(entry, Group) else 1]
        found = _arguments(verb, path, before[len(path) :], typed) if verb else []
    return sorted(word for word in found if word.startswith(typed))


def _arguments(verb: Verb, path: list[str], before: list[str], typed: str) -> list[str]:
    """Flags where one begins; else the values that the last flag takes."""
    parser = build_parser(load(verb), path)
    if typed.startswith("-"):
        return [f for action in parser._actions if action.help != argparse.SUPPRESS for f in action.option_strings]
    flag = next((word for word in reversed(before) if word.startswith("-")), "")
    action = next((a for a in parser._actions if flag in a.option_strings), None)
    if action is None:
        action = next((a for a in parser._actions if not a.option_strings), None)
    if action is None:
        return []
    if action.choices:
        return [str(choice) for choice in action.choices]
    values = _VALUES.get((path[0], action.dest)) or _VALUES.get(("", action.dest))
    return values(before) if values else []


def _runs(before: list[str]) -> list[str]:
    from promptflow.client.client import PFClient  # brings the database

    return ["@latest", *(run.name for run in PFClient().runs.list(200))]


def _connections(before: list[str]) -> list[str]:
    from promptflow.client.client import PFClient  # brings the database

    return [str(connection.name) for connection in PFClient().connections.list()]


def _models(before: list[str]) -> list[str]:
    query = "SELECT DISTINCT name FROM assets WHERE kind = 'model' ORDER BY name"
    return [str(row["name"]) for row in Workspace.open().store.select("assets", query)]


def _endpoints(before: list[str]) -> list[str]:
    rows = Workspace.open().store.select("endpoints", "SELECT name FROM endpoints ORDER BY name")
    return [str(row["name"]) for row in rows]


def _deployments(before: list[str]) -> list[str]:
    rows = Workspace.open().store.select("deployments", "SELECT DISTINCT name FROM deployments ORDER BY name")
    return [str(row["name"]) for row in rows]


def _variants(before: list[str]) -> list[str]:
    flow = _flow(before)
    return [f"${{{n}.{v}}}" for n, variants in flow.node_variants.items() for v in variants.variants] if flow else []


def _nodes(before: list[str]) -> list[str]:
    flow = _flow(before)
    return [node.name for node in flow.nodes] if flow else []


def _inputs(before: list[str]) -> list[str]:
    flow = _flow(before)
    return [f"{name}=" for name in flow.inputs] if flow else []


def _flow(before: list[str]) -> Flow | None:
    """The DAG flow that the line names with --flow."""
    from promptflow.contracts.flow_yaml import load_flow_file  # brings YAML
    from promptflow.executor.loader import find_flow_file

    if "--flow" not in before[:-1]:
        return None
    return load_flow_file(find_flow_file(before[before.index("--flow") + 1]))


def _settings(before: list[str]) -> list[str]:
    from promptflow.workspace.settings import KNOWN

    return [f"{key}=" for key in KNOWN]


def _traces(before: list[str]) -> list[str]:
    from promptflow.tracing.store import TraceStore  # brings the database

    return ["@latest", *(trace.trace_id for trace in TraceStore(Workspace.open()).list(limit=50))]


# (group or "" for any, argument) -> the values from the workspace
_VALUES: dict[tuple[str, str], Callable[[list[str]], list[str]]] = {
    ("run", "name"): _runs,
    ("run", "names"): _runs,
    ("run", "run_name"): _runs,
    ("", "run"): _runs,
    ("", "resume_from"): _runs,
    ("connection", "name"): _connections,
    ("model", "name"): _models,
    ("model", "parent"): _models,
    ("endpoint", "name"): _endpoints,
    ("endpoint", "deployment_name"): _deployments,
    ("deployment", "name"): _deployments,
    ("deployment", "endpoint_name"): _endpoints,
    ("", "variant"): _variants,
    ("", "node"): _nodes,
    ("flow", "inputs"): _inputs,
    ("config", "values"): _settings,
    ("trace", "trace"): _traces,
}


def _arguments_of_completion(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=(*SCRIPTS, "words"), metavar="bash|zsh|fish", help="The shell.")
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)


COMPLETION = Command(
    completion, "Print the completion script of a shell. It completes commands, flags, and the names of runs,\n"
    "connections, nodes and variants.", _arguments_of_completion,
    (
        "pf completion bash > ~/.local/share/bash-completion/completions/pf",
        "pf completion zsh > ~/.zfunc/_pf",
        "pf completion fish > ~/.config/fish/completions/pf.fish",
    ),
)  # fmt: skip
