"""A deployment's file, with what the workspace adds: the model's files, and copies of what may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from catalog.assets import AssetNotFoundError
from catalog.models import ModelNotFoundError, ModelRef, find_model
from catalog.references import Reference, parse_reference
from catalog.registry import Registry
from catalog.schemas import model_spec
from promptflow.contracts.flow import DAG_FILES, FLEX_FILES
from promptflow.exceptions import ValidationException
from promptflow.workspace import Workspace
from serve.endpoints.deployment_file import DeploymentFile, ModelGiven
from serve.endpoints.records import Deployment
from serve.endpoints.settings_file import settle
from serve.endpoints.snapshots import KIND, Snapshots
from serve.endpoints.spec import FLOW, LLM, MODEL
from serve.engines import NO_FILES

ALLOW_PICKLE = "deployments.allow_pickle"
_FLOW_FILES = (*DAG_FILES, *FLEX_FILES)


@dataclass(frozen=True)
class Files:
    """Where the files of a model or of code are, and what is held for them."""

    path: Path | None = None
    assets: tuple[str, ...] = ()
    model: str = ""
    type: str = ""
    llm: bool = False


def resolve(file: DeploymentFile, workspace: Workspace, current: Deployment | None = None) -> Deployment:
    """The deployment to be kept. ``current`` is the one that it replaces: its copies are not made again.

    The user's word that pickles may be loaded is the file's, or that of the setting for all deployments.
    """
    model = _model(file, workspace, current)
    code, flow = file.code, file.flow
    kind = file.spec.kind
    if kind == MODEL and model.path is not None:
        if is_flow(model.path):
            kind, flow = FLOW, model.path
        elif model.llm or is_llm(model.path):
            kind = LLM
    if kind == LLM and model.path is None and not model.model:
        raise ValidationException("An engine needs a model.", hint="model: NAME, as `pf model serve` takes it")
    copied = _copied(code or _flow_folder(flow), workspace, current) if code or flow else Files()
    spec = replace(
        file.spec,
        kind=kind,
        allow_pickle=file.spec.allow_pickle or workspace.settings.get(ALLOW_PICKLE) is True,
        model=model.model,
        model_path=model.path,
        model_type=model.type,
        code=copied.path,
        scoring_script=_flow_file(flow) if kind == FLOW else file.spec.scoring_script,
        assets=tuple(dict.fromkeys((*model.assets, *_adapters(file, kind, workspace), *copied.assets))),
    )
    spec = settle(spec, file.request, file.busy_percent)
    if current is not None:
        return replace(current, spec=spec, description=file.description, tags=file.tags, properties=file.properties)
    return Deployment(file.endpoint, file.name, spec, file.description, file.tags, file.properties)


def is_flow(path: Path) -> bool:
    """Whether a folder, or a file, is a flow."""
    if path.is_file():
        return path.name in _FLOW_FILES or path.suffix == ".prompty"
    return any((path / name).is_file() for name in _FLOW_FILES)


def is_llm(path: Path) -> bool:
    """Whether a folder, or a file, is a model of the engines'."""
    if path.is_file():
        return path.suffix == ".gguf"
    if (path / "MLmodel").is_file():
        return False
    return (path / "config.json").is_file() or (path / "adapter_config.json").is_file()


def _model(file: DeploymentFile, workspace: Workspace, current: Deployment | None) -> Files:
    given = file.model
    if given is None:
        return Files()
    if current is not None and given.path is not None and given.path == current.spec.model_path:
        spec = current.spec
        return Files(spec.model_path, _of_model(current), spec.model, spec.model_type)
    if given.path is None:
        return _referred(given.reference, file, workspace)
    if given.asset.get("name"):
        return _registered(given, workspace)
    if is_llm(given.path) or file.spec.kind == LLM:
        return Files(given.path, type=given.type)  # read where it is: such weights are large
    asset = Snapshots(workspace).keep(given.path)
    return Files(Snapshots(workspace).folder(asset), (asset.id,), type=given.type)


def _adapters(file: DeploymentFile, kind: str, workspace: Workspace) -> list[str]:
    """What is held for the adapters of an LLM. ModelNotFoundError for one that is not on this machine."""
    options = file.spec.options
    if kind != LLM or options.get("engine") in NO_FILES:
        return []
    return [asset for name in options.get("adapters", {}).values() for asset in _assets(find_model(name, workspace))]


def _registered(given: ModelGiven, workspace: Workspace) -> Files:
    """An inline model with a name is registered by it, as the cloud does."""
    assert given.path is not None
    spec = model_spec({**given.asset, "path": str(given.path)}, given.path.parent)
    registry = Registry(workspace)
    asset = registry.create(spec)
    return Files(registry.folder(asset), (asset.id,), f"{asset.name}:{asset.version}", asset.type)


def _referred(text: str, file: DeploymentFile, workspace: Workspace) -> Files:
    """A model that is on this machine. Another registry's is looked for under its own name here."""
    if file.spec.kind == LLM and file.spec.options.get("engine") in NO_FILES:
        return Files(model=text)
    try:
        found = find_model(_here(text), workspace)
    except (ModelNotFoundError, AssetNotFoundError) as error:
        raise type(error)(f"The model {text}: {error.message}", hint=error.hint) from None
    type_ = ""
    if found.kind == "registry":
        type_ = Registry(workspace).get(Reference(found.name, found.version)).type
    llm = found.kind in ("builtin", "hub", "gguf")
    return Files(found.folder, _assets(found), _exact(found), type_, llm)


def _here(text: str) -> str:
    if not text.startswith("azureml:"):
        return text
    found = parse_reference(text)
    mark = f":{found.version}" if found.version else f"@{found.alias}" if found.alias else ""
    return f"workspace/{found.name}{mark}"


def _exact(found: ModelRef) -> str:
    return f"{found.name}:{found.version}" if found.version else found.name


def _assets(found: ModelRef) -> tuple[str, ...]:
    own = {"hub": f"hub:{found.name}", "registry": f"model:{found.name}:{found.version}"}.get(found.kind)
    base = _assets(found.adapter_of) if found.adapter_of is not None else ()
    return ((own,) if own else ()) + base


def _of_model(current: Deployment) -> tuple[str, ...]:
    """What is held for a model that was copied, and not for the code."""
    copied = {*_held_for(current, current.spec.code)}
    return tuple(asset for asset in current.spec.assets if asset.startswith(f"{KIND}:") and asset not in copied)


def _held_for(current: Deployment, path: Path | None) -> Sequence[str]:
    # The code's copy is the last one: resolve() wrote them in this order.
    return current.spec.assets[-1:] if path is not None else ()


def _copied(folder: Path, workspace: Workspace, current: Deployment | None) -> Files:
    if current is not None and folder == current.spec.code:
        return Files(folder, tuple(_held_for(current, folder)))
    snapshots = Snapshots(workspace)
    asset = snapshots.keep_code(folder)
    return Files(snapshots.folder(asset), (asset.id,))


def _flow_folder(flow: Path | None) -> Path:
    assert flow is not None
    return flow.parent if flow.is_file() else flow


def _flow_file(flow: Path | None) -> str:
    if flow is None:
        return ""
    if flow.is_file():
        return flow.name
    return next((name for name in _FLOW_FILES if (flow / name).is_file()), "")
