"""Talking to a chat flow in the terminal."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from promptflow.cli import style
from promptflow.cli.output import Output
from promptflow.client.client import PFClient
from promptflow.exceptions import UserErrorException
from promptflow.executor.loader import load_executor


def chat(client: PFClient, args: Namespace, inputs: dict[str, Any], out: Output) -> None:
    """Ask for a message, print the answer as it comes, remember both; until end of input, Ctrl-C or `exit`."""
    executor = load_executor(
        args.flow,
        variant=args.variant,
        init=args.init,
        environment_variables=args.environment_variables,
        workspace=client.workspace,
    )
    question, history_name, answer = chat_ports(executor.flow)
    history: list[dict[str, Any]] = list(inputs.get(history_name) or []) if history_name else []
    out.note(f"Talking to {executor.flow.name}. An empty line, `exit` or Ctrl-D ends it.", "dim")
    with executor.activated():
        while message := _ask(out):
            values = {**inputs, question: message}
            if history_name:
                values[history_name] = history
            result = executor.run_line(executor.apply_inputs(values), streaming=True)
            if result.exception is not None:
                raise result.exception
            output = dict(result.output) if isinstance(result.output, dict) else {answer or "output": result.output}
            name = answer if answer in output else next(iter(output), "output")
            output[name] = _say(output.get(name), out)
            history.append({"inputs": {question: message}, "outputs": output})


def chat_ports(flow: Any) -> tuple[str, str | None, str | None]:
    """(chat input, chat history, chat output) of a flow. UserErrorException when it is no chat flow."""
    ports = flow.inputs
    question = next((n for n, i in ports.items() if i.is_chat_input), None)
    if question is None:
        raise UserErrorException(
            f"{flow.name} is no chat flow: no input is marked is_chat_input",
            hint="add is_chat_input: true to the input that takes the message",
        )
    history = next((n for n, i in ports.items() if i.is_chat_history), None)
    if history is None and "chat_history" in ports:
        history = "chat_history"
    answer = next((n for n, o in flow.outputs.items() if getattr(o, "is_chat_output", False)), None)
    return question, history, answer


def _ask(out: Output) -> str:
    out.stderr.write(style.paint("you: ", "cyan", style.wants_color(out.stderr, out.no_color)))
    out.stderr.flush()
    try:
        message = sys.stdin.readline().strip()
    except KeyboardInterrupt:
        message = ""
        out.stderr.write("\n")
    return "" if message.lower() in ("exit", "quit") else message


def _say(value: Any, out: Output) -> Any:
    """Print an answer; a stream piece by piece. Returns the whole of it."""
    out.stderr.write(style.paint("bot: ", "green", style.wants_color(out.stderr, out.no_color)))
    out.stderr.flush()
    if not hasattr(value, "__next__"):
        out.text(str(value))
        return value
    pieces = []
    for piece in value:
        pieces.append(str(piece))
        out.stdout.write(pieces[-1])
        out.stdout.flush()
    out.stdout.write("\n")
    return "".join(pieces)
