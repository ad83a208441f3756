"""`pf deployment export`: a deployment as a folder that runs an instance of it anywhere, with manifests."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from promptflow.connections.store import ConnectionStore
from promptflow.exceptions import NotSupported, UserErrorException, ValidationException
from promptflow.serving.export import manifests
from promptflow.serving.export.build import make_room
from promptflow.serving.export.connections import secrets_of
from promptflow.serving.export.container import IGNORED, Recipe, dockerfile, settings
from promptflow.serving.export.flow_copy import refuse_secrets
from promptflow.serving.export.lock import Lock
from promptflow.serving.export.wheel import is_from_an_index, write_wheel
from promptflow.tape.request import is_secret_name
from promptflow.workspace import Workspace
from promptflow.workspace.yamlfile import dump_yaml
from serve.endpoints.records import Deployment
from serve.endpoints.spec import LLM, EnvironmentSpec, Spec
from serve.endpoints.store import EndpointStore
from serve.endpoints.variables import referring
from serve.placement.files import copy_files, has_model
from serve.placement.folder import ADAPTERS, CODE, CONNECTIONS, MODEL, SPEC
from serve.placement.key import ALIVE, KEY
from serve.placement.packages import lock_of, system_packages
from serve.placement.pods import pods_of
from serve.placement.readme import readme

FORMATS = ("docker", "kubernetes", "kserve")
START = """\
#!/bin/sh
# Runs the instance beside this file, in a container or not.
cd "$(dirname "$0")" || exit 1
exec "${PYTHON:-python}" -P -m serve.placement .
"""
MARKS = (SPEC, "requirements.lock", "start.sh", "settings.json")  # a folder that has these was exported before
_NOT_MOVED = {
    "vllm": "vLLM has images of its own: vllm/vllm-openai, or KServe's huggingface runtime",
    "remote": "its model runs elsewhere already",
}
_CREDENTIALS = re.compile(r"\w+://[^/\s@]*:[^/\s@]+@|https?://[^/\s@]+@")


@dataclass
class Exported:
    """What was written, and what the one who asked for it should know."""

    folder: Path
    variables: tuple[str, ...] = ()
    unlocked: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Order:
    """What is to be written: ``image`` is where manifests say that the image is; with ``claim``, a volume that has the
    model, the model is not copied."""

    deployment: Deployment
    format: str = "kubernetes"
    image: str = ""
    claim: str = ""

    @property
    def spec(self) -> Spec:
        return self.deployment.spec

    @property
    def name(self) -> str:
        return manifests.dns_name(f"{self.deployment.endpoint}-{self.deployment.name}")


def export(order: Order, output: Path, workspace: Workspace) -> Exported:
    """Write the folder. It has to be new or empty, or one that was exported before. UserErrorException."""
    _check(order)
    target = output.resolve()
    sources = [path for path in (order.spec.code, order.spec.model_path) if path is not None]
    if any(path.resolve().is_relative_to(target) for path in sources):
        raise ValidationException(f"{output} holds what is to be exported.", hint="choose another --output")
    make_room(target, MARKS)
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        exported = _write(part, order, workspace)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    exported.folder = target
    return exported


def _check(order: Order) -> None:
    if order.format not in FORMATS:
        raise ValidationException(f"There is no format '{order.format}'.", hint=f"one of: {', '.join(FORMATS)}")
    engine = str(order.spec.options.get("engine") or "")
    if order.spec.kind == LLM and engine in _NOT_MOVED:
        raise NotSupported(f"A deployment with the engine '{engine}' cannot be exported.", hint=_NOT_MOVED[engine])
    if order.claim and (order.format == "docker" or not has_model(order.spec)):
        raise ValidationException(
            "--model-claim is for manifests, and for deployments with a model.", hint="leave it out"
        )


def _write(folder: Path, order: Order, workspace: Workspace) -> Exported:
    exported = Exported(folder)
    copied = copy_files(folder, order.deployment, workspace, with_model=not order.claim)
    exported.left_out = copied.left_out
    variables = _variables(copied.spec.variables, exported)
    spec = replace(copied.spec, variables=variables, environment=EnvironmentSpec(), memory_limit=0)
    if order.spec.collector is not None:
        exported.notes.append("data_collector is not part of it: the gateway of this workspace collects")
    lock, notes = lock_of(order.spec, workspace)
    _refuse_credentials(lock)
    exported.notes += notes
    exported.unlocked = lock.unlocked
    wheels = not is_from_an_index()
    if wheels:
        write_wheel(folder / "wheels")
    recipe = Recipe(
        name=order.name,
        variables=(KEY, *referring(spec.variables), *copied.secrets()),
        has_wheels=wheels,
        system=system_packages(lock),
        folders=tuple(name for name in (MODEL, ADAPTERS, CODE, CONNECTIONS) if (folder / name).is_dir()),
        files=(SPEC, "settings.json", "start.sh"),
        health=ALIVE,
        secret=f"{order.name}-secrets",
    )
    exported.variables = recipe.variables
    made = "by `pf deployment export`: the versions that the deployment ran with"
    texts = {
        SPEC: json.dumps(spec.to_json(), indent=2) + "\n",
        "Dockerfile": dockerfile(recipe),
        ".dockerignore": IGNORED,
        "requirements.lock": lock.text(made),
        "settings.json": settings(recipe),
        "start.sh": START,
        "README.md": readme(recipe, order.format, _image(order), _on_claim(order)),
        **_manifests(recipe, order),
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "start.sh").chmod(0o755)
    _refuse_known_secrets(folder, order, workspace)
    return exported


def _variables(variables: Mapping[str, str], exported: Exported) -> dict[str, str]:
    """With references for values that look like secrets, to be given where it runs."""
    found = dict(variables)
    for name in variables:
        if is_secret_name(name) and name not in referring(variables):
            found[name] = f"${{secret.{name}}}"
            exported.notes.append(f"the value of {name} is taken for a secret: it is not part of it")
    return found


def _manifests(recipe: Recipe, order: Order) -> Mapping[str, str]:
    if order.format == "docker":
        return {}
    make = manifests.kubernetes if order.format == "kubernetes" else manifests.kserve
    pods = pods_of(order.spec, {}, _size(order.spec.model_path), order.claim)
    return {f"{order.format}/{name}": dump_yaml(data) for name, data in make(recipe, _image(order), pods).items()}


def _image(order: Order) -> str:
    return order.image or f"{order.name}:latest"


def _on_claim(order: Order) -> str:
    """The model, as the volume has to have it."""
    return order.spec.model_path.name if order.claim and order.spec.model_path is not None else ""


def _size(path: Path | None) -> int:
    if path is None:
        return 0
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _refuse_credentials(lock: Lock) -> None:
    for line in lock.unlocked:
        if _CREDENTIALS.search(line):
            raise UserErrorException(
                "A requirement of the deployment's environment has a password or token in its address: "
                "nothing was written.",
                hint="take it out, and give pip the address by PIP_EXTRA_INDEX_URL or a .netrc where the image is made",
            )


def _refuse_known_secrets(folder: Path, order: Order, workspace: Workspace) -> None:
    """The values of all connections, and the endpoint's keys, are in no file but the model's."""
    store = ConnectionStore(workspace)
    connections = [store.get(str(one.name), with_secrets=True) for one in store.list()]
    keys = EndpointStore(workspace).keys(order.deployment.endpoint)
    endpoint = f"of the endpoint '{order.deployment.endpoint}'"
    secrets = [*secrets_of(connections), (f"a key {endpoint}", keys.primary), (f"a key {endpoint}", keys.secondary)]
    refuse_secrets(folder, secrets, apart=(MODEL, ADAPTERS, "wheels"))
