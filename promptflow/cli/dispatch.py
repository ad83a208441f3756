"""From words to a command: find it in the table, parse its arguments, run it, turn errors into exit codes."""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
from argparse import SUPPRESS, Action, ArgumentParser, RawDescriptionHelpFormatter
from typing import NoReturn

from promptflow.cli import errors, exits, formats, style
from promptflow.cli.command import Command
from promptflow.cli.commands import COMMANDS, Group, Verb
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.cli.overrides import nearest_hint

_HELP = ("-h", "--help")


class Parser(ArgumentParser):
    color = False  # Python 3.14 paints help by itself, by rules of its own

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"{self.prog} -h shows what it takes")


class Formatter(RawDescriptionHelpFormatter):
    """The same help on every version of Python: `-n, --name NAME`, as from 3.13 on."""

    def _format_action_invocation(self, action: Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        flags = ", ".join(action.option_strings)
        return flags if action.nargs == 0 else f"{flags} {self._format_args(action, action.dest.upper())}"


def dispatch(words: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the encoding lacks, or half of one, is written as its number instead of raising.
            stream.reconfigure(errors="backslashreplace")
    out = Output()
    try:
        verb, path, rest = find(words)
        if verb is None:
            out.text(overview(path))
            return exits.OK
        command = load(verb)
        args = build_parser(command, path).parse_args(rest)
        out = Output(
            format=(args.format or ("json" if args.query else command.format)) if command.format else None,
            explicit=bool(command.format and args.format),
            query=(args.query or "") if command.format else "",
            verbose=args.verbose, debug=args.debug, no_color=args.no_color, no_progress=args.no_progress,
        )  # fmt: skip
        _set_up_logs(args.verbose, args.debug)
        code = command.run(args, out) or exits.OK
        out.stdout.flush()
        return code
    except SystemExit as stop:  # argparse, after -h
        return stop.code if isinstance(stop.code, int) else exits.ERROR
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted. Python would complain once more at exit without this.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    except KeyboardInterrupt as stop:
        out.note(str(stop) or "stopped", "yellow")
        return exits.INTERRUPTED
    except Exception as error:
        report(error, words, out)
        return errors.exit_code(error)


def _set_up_logs(verbose: bool, debug: bool) -> None:
    """Logs go to stderr. Without `--verbose`, `--debug` or PF_LOGGING_LEVEL, warnings only: Python's own default."""
    level = "DEBUG" if debug else "INFO" if verbose else os.environ.get("PF_LOGGING_LEVEL", "").upper()
    if level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("promptflow").setLevel(level)


def find(words: list[str]) -> tuple[Verb | None, list[str], list[str]]:
    """The verb that ``words`` name, its path and its arguments; no verb when help on a group is asked for."""
    if not words or words[0] in _HELP:
        return None, [], []
    entry = COMMANDS.get(words[0])
    if entry is None:
        raise UsageError(f"pf has no command {words[0]!r}", hint=nearest_hint(words[0], COMMANDS))
    if isinstance(entry, Verb):
        return entry, words[:1], words[1:]
    if len(words) == 1 or words[1] in _HELP:
        return None, words[:1], []
    verb = entry.verbs.get(words[1])
    if verb is None:
        raise UsageError(f"pf {words[0]} has no command {words[1]!r}", hint=nearest_hint(words[1], entry.verbs))
    return verb, words[:2], words[2:]


def load(verb: Verb) -> Command:
    module, _, name = verb.target.partition(":")
    command: Command = getattr(importlib.import_module(module), name)
    return command


def build_parser(command: Command, path: list[str]) -> ArgumentParser:
    parser = Parser(
        prog=" ".join(["pf", *path]),
        description=command.description,
        epilog="\n".join(["examples:", *(f"  {line}" for line in command.examples)]) if command.examples else None,
        formatter_class=Formatter,
    )
    if command.arguments is not None:
        command.arguments(parser)
    if command.format:
        parser.add_argument(
            "-o", "--output", dest="format", choices=formats.FORMATS, 
            help=f"How to write the result ({command.format}).",
        )  # fmt: skip
        parser.add_argument("--query", metavar="JMESPATH", help="Of the result, this: status, [].name, ...")
    parser.add_argument("--verbose", action="store_true", help="Say more about what is done.")
    parser.add_argument("-d", "--debug", action="store_true", help="Show tracebacks and debug logs.")
    parser.add_argument("--no-color", action="store_true", help="Write without colour.")
    parser.add_argument("--no-progress", action="store_true", help="Show no progress.")
    parser.add_argument("--user-agent", help=SUPPRESS)
    parser.usage = _usage(parser)
    return parser


def _usage(parser: ArgumentParser) -> str:
    """What must be given; what may be is listed below it anyway."""
    words = [parser.prog]
    for action in parser._actions:
        name = str(action.metavar or action.dest.upper())
        if action.help == SUPPRESS:
            continue
        if not action.option_strings:
            words.append(f"[{name} ...]" if action.nargs == "*" else f"{name} ..." if action.nargs == "+" else name)
        elif action.required:
            words.append(f"{action.option_strings[-1]} {name}")
    return " ".join([*words, "[options]"]).replace("%", "%%")


def overview(path: list[str]) -> str:
    """The help of `pf` itself, or of a group."""
    group = COMMANDS[path[0]] if path else Group("Run, test and compare Prompt flow projects.", {})
    lines = {name: verb.help for name, verb in (group.verbs if isinstance(group, Group) and path else COMMANDS).items()}
    wide = max(map(len, lines))
    return "\n".join(
        [
            f"usage: {' '.join(['pf', *path])} [-h] {'' if path else '[-v] '}COMMAND ...",
            "",
            group.help,
            "",
            "commands:",
            *(f"  {name.ljust(wide)}  {text}" for name, text in lines.items()),
            "",
            f"`{' '.join(['pf', *path])} COMMAND -h` shows more.",
        ]
    )


def report(error: Exception, words: list[str], out: Output) -> None:
    """Tell an error on stderr, in the form that was asked for."""
    if os.environ.get("PROMPTFLOW_STRUCTURE_EXCEPTION_OUTPUT", "").lower() == "true":
        print(formats.to_json(errors.structured(error, words), indent=None), file=out.stderr)
        return
    if _asks_for_json(words):
        print(formats.to_json(errors.as_json(error, out.debug)), file=out.stderr)
        return
    if out.debug:
        out.note(errors.trace(error))
    first, _, rest = errors.three_lines(error).partition(":")
    print(style.paint(first + ":", "red", style.wants_color(out.stderr, out.no_color)) + rest, file=out.stderr)


def _asks_for_json(words: list[str]) -> bool:
    """`-o json` on the command line, even when the rest of it could not be parsed."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    return any(
        (w in ("-o", "--output") and v in ("json", "jsonl")) or w in ("-ojson", "--output=json") for w, v in pairs
    )
