"""The name of a model of another server -> what a router offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptflow.exceptions import ValidationException
from serve.engines import open_engine
from serve.lora import Adapter
from serve.served import Served

if TYPE_CHECKING:
    from promptflow.workspace import Workspace

OPTIONS = frozenset({"base_url", "connection", "context", "dialect", "name", "timeout"})  # none of them is a secret
SECRETS = frozenset({"api_key", "headers"})


def remote_offer(
    name: str, adapters: Mapping[str, str], options: Mapping[str, Any], workspace: Callable[[], Workspace]
) -> Served:
    """``options`` as a person gives them to the engine; a ``connection`` goes by its name. ``adapters`` are known to
    the server by names, too."""
    if unknown := sorted({*options} - OPTIONS):
        hint = "keys belong into a connection: --connection NAME"
        hint = hint if unknown[0] in SECRETS else f"there are {', '.join(sorted(OPTIONS))}"
        raise ValidationException(f"The remote engine takes no option '{unknown[0]}' here.", hint=hint)
    given = {**options, "adapters": dict(adapters)}
    if connection := given.pop("connection", ""):
        given.update(_connected(str(connection), str(given.get("name") or name), workspace))
    elif not given.get("base_url"):
        hint = "--connection NAME, or --option base_url=http://HOST:PORT/v1 for a server that wants no key"
        raise ValidationException(f"Where is the server of '{name}'?", hint=hint)
    make = partial(open_engine, name, "remote", **given)
    make()  # what is wrong with the options is said now
    return Served(name, make, adapters={alias: Adapter(Path(there)) for alias, there in adapters.items()}, alias=name)


def _connected(connection: str, model: str, workspace: Callable[[], Workspace]) -> dict[str, Any]:
    # Imported here: servers of this machine's own models ask nobody else.
    from promptflow.connections.local import is_local
    from promptflow.connections.provider import get_connection
    from serve.engines.remote_limits import limits_of
    from serve.engines.remote_place import place_of

    if is_local(connection):
        hint = "pf model serve MODEL, without --engine remote"
        raise ValidationException(f"The connection '{connection}' is of this machine's own models.", hint=hint)
    found = get_connection(connection, workspace())
    return {"place": place_of(found, model), "limits": limits_of(found)}
