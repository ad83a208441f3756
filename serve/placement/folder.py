"""A folder that an instance runs from, wherever it was copied to: its spec, beside the files that it names."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptflow.exceptions import UserErrorException
from promptflow.serving.options import CONNECTIONS_FOLDER
from serve.endpoints.spec import Spec
from serve.endpoints.variables import plain, referring

SPEC, MODEL, CODE, ADAPTERS, CONNECTIONS = "spec.json", "model", "code", "adapters", "connections"
DEPLOYMENT = "PF_DEPLOYMENT_NAME"  # a variable: what it is called


def read_folder(folder: Path, environ: MutableMapping[str, str]) -> Spec:
    """The spec, with paths of this machine, and without the variables that ``environ`` has values for. A flow's
    connections are looked for in the folder. UserErrorException for a secret that is not given."""
    root = folder.resolve()
    try:
        spec = Spec.from_json(json.loads((root / SPEC).read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserErrorException(
            f"{folder} holds no deployment: {SPEC} cannot be read ({error}).",
            hint="pf deployment export -n NAME -e ENDPOINT --output DIR makes such a folder",
        ) from None
    missing = [name for name in referring(spec.variables) if not environ.get(name)]
    if missing:
        raise UserErrorException(
            f"These environment variables are not set: {', '.join(missing)}.",
            hint="the deployment read them from connections, whose secrets are not in the folder",
        )
    if (root / CONNECTIONS).is_dir():
        environ.setdefault(CONNECTIONS_FOLDER, str(root / CONNECTIONS))
    given = {name: value for name, value in plain(spec.variables).items() if name not in environ}
    return replace(
        spec,
        model_path=root / spec.model_path if spec.model_path else None,
        code=root / spec.code if spec.code else None,
        variables=given,
        options=_placed(spec.options, root),
    )


def _placed(options: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """With adapters that are in the folder."""
    adapters = options.get("adapters")
    return (
        {**options, "adapters": {name: str(root / path) for name, path in adapters.items()}}
        if adapters
        else {**options}
    )
