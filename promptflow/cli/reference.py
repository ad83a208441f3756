"""The reference of `pf`, made from its own help: `python -m promptflow.cli.reference > docs/cli.md`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from promptflow.cli.commands import COMMANDS, Group, Verb
from promptflow.cli.dispatch import build_parser, load, overview

_HEAD = """# `pf`, command by command

This page is made from the help of `pf` itself: `python -m promptflow.cli.reference > docs/cli.md`.

## Rules that hold for every command

- **Streams.** stdout is the result; logs, progress and hints go to stderr. `pf run create … | jq .status` works.
- **Formats.** `-o table|json|jsonl|yaml|tsv|quiet`. Commands whose JSON scripts read print JSON unless asked
  otherwise; the others print a table. On a terminal a table fits its width and drops the least important columns,
  naming them; in a pipe it has no borders and nothing is cut. `quiet` prints names only.
- **Parts of results.** `--query` takes [JMESPath](https://jmespath.org), as `az` does, on every command that has `-o`:
  `--query name -o tsv`, `--query "[?status=='Failed'].name"`. With it JSON is written unless asked otherwise, and
  `-o tsv` has no heading.
- **`--set`** takes paths: `settings.error_threshold=5`, `nodes[0].inputs.x=1`; a name with dots in it stands in quotes,
  `'options."a.b"=1'`. Names of tags, properties and environment variables need none. Errors name the flag that said
  what is wrong.
- **Exit codes.** 0 done · 1 error · 2 the command line is wrong · 3 rows failed, or a check says that something must
  change · 130 Ctrl-C. `pf run create --fail-on any|N|N%|never` says how many failed rows count; `PF_COMPAT=1.18`
  brings promptflow 1.18's exit code 0 back.
- **Errors** are three lines: what, where (`at file:line:column`), and what to do (`hint:`). With `-o json` an error
  is a JSON object on stderr; `PROMPTFLOW_STRUCTURE_EXCEPTION_OUTPUT=true` gives promptflow 1.18's. `--debug` adds
  the traceback.
- **Names** of runs and connections may be shortened as long as they stay unique; `@latest` and `@latest~1` are the
  newest run and the one before. To delete something without a terminal, give its whole name.
- **Questions** are asked on a terminal only; elsewhere `-y` is needed.
- **Settings** count in this order: flag, environment variable, `pf.yaml` of the project, `pf.yaml` of the workspace.
  `pf config show --origin` tells which one did.
- **Colour** is off in pipes, with `NO_COLOR`, `TERM=dumb` or `--no-color`; `FORCE_COLOR` turns it on.
- **Network.** `pf` opens no connection that the command was not asked for. There is no telemetry.
"""


def reference() -> str:
    """The whole page. Help is laid out for 100 columns, whatever the terminal."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        return "\n".join([_HEAD, *_sections()])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _sections() -> Iterator[str]:
    yield _block("pf", overview([]))
    for name, entry in COMMANDS.items():
        if isinstance(entry, Verb):
            yield _block(f"pf {name}", _help(entry, [name]))
            continue
        yield _group(name, entry)


def _group(name: str, group: Group) -> str:
    verbs = (_block(f"pf {name} {verb}", _help(found, [name, verb]), "###") for verb, found in group.verbs.items())
    return "\n".join([f"## pf {name}\n\n{group.help}\n", *verbs])


def _help(verb: Verb, path: list[str]) -> str:
    return build_parser(load(verb), path).format_help()


def _block(title: str, text: str, level: str = "##") -> str:
    return f"{level} {title}\n\n```text\n{text.rstrip()}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
