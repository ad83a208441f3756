"""The files that an instance runs from, copied to a folder of their own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from promptflow.connections.models import _Connection as Connection
from promptflow.connections.references import variable_name
from promptflow.serving.export.build import definition_of
from promptflow.serving.export.connections import used_connections, write_connections
from promptflow.serving.export.flow_copy import copy_code
from promptflow.workspace import Workspace
from serve.endpoints.records import Deployment
from serve.endpoints.spec import FLOW, LLM, Spec
from serve.offers import Offers
from serve.placement.folder import ADAPTERS, CODE, CONNECTIONS, DEPLOYMENT, MODEL
from serve.scorers.kinds import ENDPOINT


@dataclass
class Copied:
    """``spec`` names the copies, relative to their folder. ``connections`` are a flow's, whose secrets are in no file:
    it reads them from variables. ``left_out`` are files that may hold secrets."""

    spec: Spec
    connections: list[Connection] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def secrets(self) -> dict[str, str]:
        """The variables of the connections, with their values."""
        return {
            variable_name(str(one.name), key): str(value)
            for one in self.connections
            for key, value in one.secrets.items()
        }


def copy_files(folder: Path, deployment: Deployment, workspace: Workspace, with_model: bool = True) -> Copied:
    """Copy code, model, adapters and connections into ``folder``. The spec gets the names of endpoint and deployment
    as variables."""
    spec = deployment.spec
    copied = Copied(spec)
    code, model = None, None
    if spec.code is not None:
        code = Path(CODE)
        copied.left_out = copy_code(spec.code, folder / CODE)
    if spec.kind == FLOW and spec.code is not None:
        file = spec.code / spec.scoring_script
        copied.connections = used_connections(file, definition_of(file), workspace, None)
        write_connections(copied.connections, folder / CONNECTIONS)
    elif has_model(spec):
        assert spec.model_path is not None
        model = Path(MODEL) / spec.model_path.name
        if with_model:
            _copy(spec.model_path, folder / model)
    copied.spec = replace(
        spec,
        code=code,
        model_path=model,
        variables={ENDPOINT: deployment.endpoint, DEPLOYMENT: deployment.name, **spec.variables},
        options=_options(spec.options, folder, workspace),
        collector=None,
        assets=(),
        recorded={},
    )
    return copied


def has_model(spec: Spec) -> bool:
    """Whether it has model files of its own, beside those that come with this package and a flow's code."""
    return spec.model_path is not None and spec.kind != FLOW and not (spec.kind == LLM and _is_builtin(spec))


def _is_builtin(spec: Spec) -> bool:
    return spec.model.startswith("builtin/")


def _options(options: Mapping[str, Any], folder: Path, workspace: Workspace) -> dict[str, Any]:
    adapters = options.get("adapters")
    if not adapters:
        return dict(options)
    offers, moved = Offers(lambda: workspace), {}
    for number, (name, source) in enumerate(adapters.items()):
        moved[name] = f"{ADAPTERS}/{number}"
        _copy(offers.adapter(source).folder, folder / ADAPTERS / str(number))
    return {**options, "adapters": moved}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)
