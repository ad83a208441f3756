"""`pf connection`."""

from __future__ import annotations

import getpass
import re
import sys
from argparse import ArgumentParser, Namespace
from typing import Any

from promptflow.cli import exits, style
from promptflow.cli.args import add_name, add_paging, add_set, add_yes
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.cli.overrides import apply
from promptflow.client.client import PFClient
from promptflow.connections import _Connection
from promptflow.connections.localmodel import find_local
from promptflow.connections.yamlform import from_mapping, load_connection, secrets_to_ask
from promptflow.exceptions import ConnectionNotFoundError, UserErrorException
from promptflow.workspace import Workspace

_COLUMNS = ("name", "type", "created_date", "last_modified_date")


def create(args: Namespace, out: Output) -> None:
    if (args.file is None) == (args.from_model is None):
        raise UsageError("give --file FILE or --from-model MODEL, one of them")
    connection = _from_file(args) if args.from_model is None else _from_model(args)
    _ask_for_secrets(connection, out, updating=False)
    kept = PFClient().connections.create_or_update(connection)
    out.result(kept._to_dict())
    out.hint(f"connections: {kept.name} is ready to be named in a flow")


def _from_file(args: Namespace) -> _Connection:
    overrides: list[dict[str, Any]] = [{path: value} for path, value in (args.overrides or {}).items()]
    if args.name:
        overrides.append({"name": args.name})
    connection = load_connection(args.file, params_override=overrides)
    if not connection.name:
        raise UserErrorException("the connection has no name", hint="add --name NAME", location=str(args.file))
    return connection


def _from_model(args: Namespace) -> _Connection:
    """A local connection; that there is such a model is seen now, and not by the first flow."""
    find_local(args.from_model, Workspace.open())
    name = args.name or "_".join(re.findall(r"[A-Za-z0-9.-]+", args.from_model))
    values = {"type": "local", "model": args.from_model, **(args.overrides or {}), "name": name}
    return from_mapping(values)


def update(args: Namespace, out: Output) -> None:
    client = PFClient()
    current = find(client, args.name)
    known = [key for key, value in current._to_dict().items() if key not in ("created_date", "last_modified_date")]
    # All fields of connections are texts: 7 stays "7".
    changed = apply(current._to_dict(), args.overrides, known=[*known, *_fields(current)], typed=False)
    connection = from_mapping({**changed, "name": current.name})
    _ask_for_secrets(connection, out, updating=True)
    out.result(client.connections.create_or_update(connection)._to_dict())


def show(args: Namespace, out: Output) -> None:
    out.result(find(PFClient(), args.name)._to_dict())


def list_connections(args: Namespace, out: Output) -> None:
    found = PFClient().connections.list(args.max_results, args.all_results)
    out.result([c._to_dict() for c in found], columns=_COLUMNS if out.format in ("table", "tsv") else ())


def delete(args: Namespace, out: Output) -> int:
    client = PFClient()
    connection = find(client, args.name)
    if connection.name != args.name and not style.is_terminal(out.stderr):
        raise UsageError(
            f"{args.name!r} is not the whole name of a connection", hint=f"did you mean {connection.name}?"
        )
    if not out.confirm(f"Delete connection {connection.name}?", args.yes):
        out.note("not deleted")
        return exits.ERROR
    client.connections.delete(str(connection.name))
    out.note(f"deleted connection {connection.name}")
    return exits.OK


def find(client: PFClient, word: str) -> _Connection:
    """A connection by its name or by the unique beginning of it."""
    try:
        return client.connections.get(word)
    except ConnectionNotFoundError:
        names = [str(c.name) for c in client.connections.list() if str(c.name).startswith(word)]
        if len(names) == 1:
            return client.connections.get(names[0])
        raise


def _fields(connection: _Connection) -> list[str]:
    return [*connection.configs, *connection.secrets, "configs", "secrets"]


def _ask_for_secrets(connection: _Connection, out: Output, *, updating: bool) -> None:
    """Ask for what must not stand in a file. Without a terminal: an error that names the secrets."""
    wanted = secrets_to_ask(connection, updating=updating)
    if wanted and not style.is_terminal(sys.stdin):
        flags = " ".join(f"{_secret_path(connection, key)}=..." for key in wanted)
        raise UserErrorException(
            f"connection {connection.name} needs {', '.join(wanted)}, and there is no terminal to ask on",
            hint=f"add --set {flags}",
        )
    for key in wanted:
        while not (value := getpass.getpass(f"{key}: ", stream=out.stderr)):
            out.warn(f"{key} cannot be empty")
        connection.secrets[key] = value


def _secret_path(connection: _Connection, key: str) -> str:
    return f"secrets.{key}" if connection.TYPE == "Custom" else key


def _create_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-f", "--file", help="A connection YAML file, or a .env file of secrets.")
    parser.add_argument(
        "--from-model", metavar="MODEL", help="A model of this machine: registered, pulled, built in, MODEL@ADAPTER."
    )
    parser.add_argument("-n", "--name", help="Name of the connection, over the file's.")
    add_set(parser, "Set fields: api_key=... configs.endpoint=... secrets.key=...")


def _update_arguments(parser: ArgumentParser) -> None:
    add_name(parser, "connection")
    add_set(parser, "Set fields: api_key=... configs.endpoint=... secrets.key=...")


def _named(parser: ArgumentParser) -> None:
    add_name(parser, "connection")


def _delete_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-n", "--name", required=True, metavar="NAME", help="Name of the connection.")
    add_yes(parser)


CREATE = Command(
    create, "Save a connection. Secrets are encrypted; <user-input> in the file is asked for.", _create_arguments,
    (
        "pf connection create -f azure_openai.yaml --set api_key=...", "pf connection create -f .env --name keys",
        "pf connection create --from-model support@formal --name formal",
    ), "json",
)  # fmt: skip
UPDATE = Command(
    update, "Change fields of a connection; secrets that are not given stay.", _update_arguments,
    ("pf connection update -n my_openai --set api_key=...",), "json",
)  # fmt: skip
SHOW = Command(show, "Show a connection, secrets hidden.", _named, ("pf connection show -n my_openai",), "json")
LIST = Command(
    list_connections, "List connections, secrets hidden.", add_paging, ("pf connection list -o table",), "json"
)
DELETE = Command(delete, "Delete a connection.", _delete_arguments, ("pf connection delete -n my_openai -y",))
