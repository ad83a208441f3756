"""A `Spec` as a row of the database has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serve.endpoints.spec import Spec

_HOME, _PATHS = "home:", ("model_path", "code")


def spec_to_row(spec: Spec, home: Path) -> dict[str, Any]:
    """A spec as it is kept: what is in the workspace is found again when that is moved."""
    plain = spec.to_json()
    for name in _PATHS:
        if plain[name] and Path(plain[name]).is_relative_to(home):
            plain[name] = _HOME + str(Path(plain[name]).relative_to(home))
    return plain


def spec_from_row(plain: Mapping[str, Any], home: Path) -> Spec:
    """The spec that `spec_to_row` made a row of."""
    found = dict(plain)
    for name in _PATHS:
        if found.get(name, "") and found[name].startswith(_HOME):
            found[name] = str(home / found[name].removeprefix(_HOME))
    return Spec.from_json(found)
