"""The flow of a build: a copy of its folder that stands alone, without what nobody should ship."""

from __future__ import annotations

import fnmatch
import shutil
from collections.abc import Iterable
from pathlib import Path

from promptflow.contracts.flow import parse_variant
from promptflow.exceptions import InvalidFlowError, UserErrorException
from promptflow.executor.includes import copy_with_includes
from promptflow.storage.snapshot import kept_files
from promptflow.workspace.yamlfile import edit_yaml

LEFT_OUT = (".env", ".env.*", "*.pem", "*.key", "id_rsa*")
NO_SECRETS = (".env.example", ".env.sample", ".env.template")
SHORTEST_SECRET = 8  # characters; a shorter text may stand anywhere by chance


def copy_flow(file: Path, target: Path, includes: tuple[str, ...], variant: str | None) -> list[str]:
    """Copy the folder of the flow ``file`` and what it includes. Gives the files that were left out as private."""
    left_out = copy_code(file.parent, target)
    if includes:
        merged = target.with_name(f".{target.name}.includes")
        copy_with_includes(file.parent, includes, merged)
        for name in kept_files(merged):
            if not (target / name).exists() and not _is_private(Path(name).name):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(merged / name, target / name)
        shutil.rmtree(merged)
    if includes or variant:
        _rewrite(target / file.name, variant)
    return left_out


def copy_code(folder: Path, target: Path) -> list[str]:
    """Copy a folder of code. Gives the files that were left out as private."""
    left_out = []
    for name in kept_files(folder):
        if _is_private(Path(name).name):
            left_out.append(name)
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / name, target / name)
    return left_out


def _is_private(name: str) -> bool:
    return name not in NO_SECRETS and any(fnmatch.fnmatch(name, pattern) for pattern in LEFT_OUT)


def _rewrite(file: Path, variant: str | None) -> None:
    """The flow's file for a folder that holds what was included, with the variant chosen."""
    with edit_yaml(file) as document:
        document.pop("additional_includes", None)
        if variant:
            node, chosen = parse_variant(variant)
            known = (document.get("node_variants") or {}).get(node) or {}
            if chosen not in (known.get("variants") or {}):
                raise InvalidFlowError(
                    f"Variant {chosen} not found for node {node}",
                    hint=f"variants of {node}: {', '.join(known.get('variants') or {}) or 'none'}",
                )
            known["default_variant_id"] = chosen


def refuse_secrets(folder: Path, secrets: Iterable[tuple[str, str]], apart: tuple[str, ...] = ()) -> None:
    """Raise a user error if a file holds the value of a secret; ``secrets``: where each is from, and its value.
    ``apart`` are folders that are not looked into."""
    known = [(where, value.encode()) for where, value in secrets if len(value) >= SHORTEST_SECRET]
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if file.relative_to(folder).parts[0] in apart:
            continue
        content = file.read_bytes()
        for where, value in known:
            if value in content:
                raise UserErrorException(
                    f"{file.relative_to(folder)} holds the value of {where}: nothing was built.",
                    hint="read it from the connection or an environment variable, or name the file in .amlignore",
                )
