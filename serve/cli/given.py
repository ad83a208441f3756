"""What a command is given about an endpoint or a deployment: the YAML of `-f`, the flags over it, `--set` over all."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from promptflow.cli.errors import UsageError
from promptflow.cli.overrides import apply
from promptflow.cli.said import said
from promptflow.workspace.yamlfile import Marks, load_yaml
from serve.endpoints.fields import FLAT, check_mapping


def loaded(args: Namespace, what: str) -> tuple[dict[str, Any], Marks | None]:
    """The file of `-f`, or nothing."""
    if not args.file:
        return {}, None
    data, marks = load_yaml(args.file)
    return dict(check_mapping(data, marks, what)), marks


def folder_of(args: Namespace) -> Path:
    """What paths of the file are relative to."""
    return Path(args.file).absolute().parent if args.file else Path.cwd()


def flags(args: Namespace, keys: Sequence[str]) -> dict[str, Any]:
    """Those of the flags that were said."""
    given = {key: getattr(args, key) for key in keys if getattr(args, key) is not None}
    return given | ({"allow_pickle": True} if getattr(args, "allow_pickle", False) else {})


def overridden(data: Mapping[str, Any], args: Namespace, known: Collection[str]) -> dict[str, Any]:
    """With what `--set` says."""
    return apply(data, args.overrides, known=known, flat=FLAT)


def places(args: Namespace, marks: Marks | None, keys: Sequence[str]) -> Marks:
    """Where each value was said; ``keys`` are those that have a flag of their own."""
    return said(marks, args.overrides, flags(args, keys), FLAT)


def deployment_named(data: Mapping[str, Any]) -> tuple[str, str]:
    """Endpoint and name; UsageError where one is missing."""
    for key, flag in (("endpoint_name", "--endpoint-name"), ("name", "--name")):
        if not data.get(key):
            raise UsageError(f"{flag} is missing", hint="give it as a flag or in the file")
    return str(data["endpoint_name"]), str(data["name"])


def exclusive(data: dict[str, Any]) -> dict[str, Any]:
    """What says how it is run replaces whatever said so before."""
    ways = ("code_configuration", "flow")
    return {**{way: None for way in ways if any(data.get(other) for other in ways)}, **data}
