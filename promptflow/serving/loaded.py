"""A flow that is loaded to be served: its executor, its surroundings, and what every request asks about it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptflow.contracts.flow import as_text
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.executor.loader import Executor, find_flow_file, load_executor, load_flow_definition
from promptflow.serving.connections import provider
from promptflow.serving.example import must_be_given, samples_of
from promptflow.serving.options import ServeOptions
from promptflow.serving.swagger import swagger
from promptflow.workspace import Workspace
from promptflow.workspace.yamlfile import load_yaml

INCLUDED_FIELDS = "PROMPTFLOW_RESPONSE_INCLUDED_FIELDS"


@dataclass(frozen=True)
class ServedFlow:
    """``required``: inputs that a request must hold. ``hidden``: outputs that no answer holds. The flow's folder is
    the working directory, and first on ``sys.path``, until ``close``."""

    executor: Executor
    name: str
    inputs: tuple[str, ...]
    required: tuple[str, ...]
    hidden: frozenset[str]
    swagger: dict[str, Any]
    surroundings: ExitStack = field(repr=False)

    @property
    def definition(self) -> Any:
        """The flow as its file describes it."""
        return self.executor.flow

    def close(self) -> None:
        self.surroundings.close()


def load(options: ServeOptions, environ: Mapping[str, str] = os.environ) -> ServedFlow:
    """Load what the options name. Raises a user error that says what is wrong with the flow."""
    file = flow_file(Path(options.source))
    workspace = Workspace.open()
    executor = load_executor(
        file,
        variant=options.variant or None,
        init=options.init or None,
        environment_variables=_environment(file, options, environ),
        workspace=workspace,
        provider=provider(workspace, options.connections_folder, environ),
    )
    name = file.parent.resolve().name
    flow = executor.flow
    hidden = _hidden(flow.outputs, environ)
    surroundings = ExitStack()
    surroundings.enter_context(executor.activated())
    sample = samples_of(file.parent)
    return ServedFlow(
        executor=executor,
        name=name,
        inputs=tuple(flow.inputs),
        required=tuple(key for key, input in flow.inputs.items() if must_be_given(flow.kind, input)),
        hidden=hidden,
        swagger=swagger(flow, name, _declared_outputs(flow), hidden, sample),
        surroundings=surroundings,
    )


def flow_file(source: Path) -> Path:
    """The flow's file: of a folder with a flow, with one prompty, or with an MLflow model that holds a flow."""
    if not source.is_dir():
        return find_flow_file(source)
    model = source / "MLmodel"
    if model.is_file():
        data, _ = load_yaml(model)
        entry = ((data.get("flavors") or {}).get("promptflow") or {}).get("entry") if isinstance(data, dict) else None
        if entry:
            return find_flow_file(source / str(entry))
    prompties = sorted(source.glob("*.prompty"))
    try:
        return find_flow_file(source)
    except ValidationException:
        raise  # several flow files: none of them is meant
    except UserErrorException:
        if len(prompties) == 1:
            return prompties[0]
        raise


def _environment(file: Path, options: ServeOptions, environ: Mapping[str, str]) -> dict[str, str]:
    """The flow's variables. Those that the process has already count before the flow's own, given ones before both."""
    declared = {} if file.suffix == ".prompty" else load_flow_definition(file).environment_variables
    present = {key: environ[key] for key in declared if key in environ}
    return {**present, **{key: as_text(value) for key, value in options.environment_variables.items()}}


def _declared_outputs(flow: Any) -> dict[str, Any]:
    """Those that the file names: a prompty that names none answers with its text as it is."""
    undeclared = flow.kind == "prompty" and list(flow.outputs) == ["output"]
    return {} if undeclared else {k: o for k, o in flow.outputs.items() if not o.evaluation_only}


def _hidden(outputs: Mapping[str, Any], environ: Mapping[str, str]) -> frozenset[str]:
    text = environ.get(INCLUDED_FIELDS, "").strip()
    if not text:
        return frozenset(name for name, output in outputs.items() if output.evaluation_only)
    try:
        included = json.loads(text)
    except ValueError:
        included = None
    if not isinstance(included, list):
        raise ValidationException(
            f"{INCLUDED_FIELDS} must hold a JSON list of names of outputs, found {text!r}.",
            location=f"environment: {INCLUDED_FIELDS}",
            hint=f"""{INCLUDED_FIELDS}='["{next(iter(outputs), "answer")}"]'""",
        )
    return frozenset(name for name in outputs if name not in included)
