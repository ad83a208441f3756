"""`pf flow build`: a flow, its connections and its packages as a folder to be served from."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptflow.connections.models import _Connection as Connection
from promptflow.exceptions import NotSupported, UserErrorException, ValidationException
from promptflow.executor.loader import load_flow_definition
from promptflow.serving.example import curl
from promptflow.serving.export import manifests
from promptflow.serving.export.connections import secrets_of, used_connections, write_connections
from promptflow.serving.export.container import IGNORED, PORT, START, Recipe, dockerfile, readme, settings
from promptflow.serving.export.flow_copy import copy_flow, refuse_secrets
from promptflow.serving.export.lock import lock_requirements
from promptflow.serving.export.wheel import is_from_an_index, write_wheel
from promptflow.serving.loaded import flow_file
from promptflow.workspace import Workspace
from promptflow.workspace.yamlfile import dump_yaml

_MARKS = ("flow", "requirements.lock", "start.sh", "settings.json")
_LOCAL = re.compile(r"""connection["']?\s*:\s*["']?local\b""")
FORMATS = ("docker", "kubernetes", "kserve", "executable")


@dataclass
class Built:
    """What was written, and what the one who asked for it should know."""

    folder: Path
    variables: tuple[str, ...] = ()
    unlocked: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def build_flow(
    source: str | Path,
    output: str | Path,
    *,
    format: str = "docker",
    variant: str | None = None,
    image: str = "",
    flow_only: bool = False,
    name: str = "",
    workspace: Workspace | None = None,
) -> Built:
    """Write the folder. It has to be new or empty, or one that was built before. Raises a user error.

    ``image`` is where manifests say that the image is; ``name`` what the flow is called, if not as its folder.
    """
    _check_format(format)
    file, target = flow_file(Path(source)), Path(output).resolve()
    if target == file.parent.resolve() or file.resolve().is_relative_to(target):
        raise ValidationException(f"{output} is the flow's own folder.", hint="choose another --output")
    make_room(target, () if flow_only else _MARKS)
    definition = definition_of(file)
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        order = _Order(file, definition, format, variant, image, name or file.parent.resolve().name)
        workspace = workspace or Workspace.open()
        if flow_only:
            built = Built(part, left_out=_flow_into(part, order, workspace)[0])
        else:
            built = _whole_into(part, order, workspace)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    built.folder = target
    return built


@dataclass(frozen=True)
class _Order:
    """What is to be built."""

    file: Path
    definition: Any
    format: str
    variant: str | None
    image: str
    name: str


def _flow_into(flow: Path, order: _Order, workspace: Workspace) -> tuple[list[str], list[Connection]]:
    """The copy of the flow: what was left out of it, and the connections it needs, none of whose secrets it holds."""
    flow.mkdir(parents=True)
    left_out = copy_flow(order.file, flow, order.definition.additional_includes, order.variant)
    connections = used_connections(order.file, order.definition, workspace, order.variant)
    refuse_secrets(flow, secrets_of(connections))
    return left_out, connections


def _whole_into(folder: Path, order: _Order, workspace: Workspace) -> Built:
    flow = folder / "flow"
    left_out, connections = _flow_into(flow, order, workspace)
    variables = tuple(write_connections(connections, folder / "connections"))
    environment = getattr(order.definition, "environment", None) or {}
    extras = ["cpu"] if any(c.TYPE == "Local" for c in connections) or uses_local(flow) else []
    lock = lock_requirements(flow, environment, extras)
    wheels = not is_from_an_index()
    if wheels:
        write_wheel(folder / "wheels")
    recipe = Recipe(
        name=manifests.dns_name(order.name),
        variables=variables,
        image=_image_name(environment.get("image")),
        setup=str(environment.get("setup_sh") or ""),
        has_wheels=wheels,
        first_request=curl(f"http://localhost:{PORT}", order.file, order.definition),
    )
    texts = {
        "Dockerfile": dockerfile(recipe),
        ".dockerignore": IGNORED,
        "requirements.lock": lock.text(),
        "settings.json": settings(recipe),
        "start.sh": START,
        **_manifests(recipe, order.format, order.image or f"{recipe.name}:latest"),
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "start.sh").chmod(0o755)
    return Built(folder, variables, lock.unlocked, left_out)


def _manifests(recipe: Recipe, format: str, image: str) -> dict[str, str]:
    """The files of Kubernetes or KServe, and the README, which tells of them."""
    if format == "docker":
        return {"README.md": readme(recipe)}
    make = manifests.kubernetes if format == "kubernetes" else manifests.kserve
    files = {f"{format}/{name}": dump_yaml(data) for name, data in make(recipe, image).items()}
    literals = "".join(f" \\\n  --from-literal={name}=..." for name in recipe.variables)
    secret = f"kubectl create secret generic {manifests.secret_name(recipe)}{literals}\n" if recipe.variables else ""
    told = (
        f"\n## On {'Kubernetes' if format == 'kubernetes' else 'KServe'}\n\n"
        f"Push the image, have `{image}` in `{format}/` say where it is, then:\n\n"
        f"```sh\n{secret}kubectl apply -f {format}/\n```\n"
    )
    return {**files, "README.md": readme(recipe, told)}


def _check_format(format: str) -> None:
    if format == "executable":
        raise NotSupported(
            "pf flow build makes no executables: PyInstaller leaves out what a flow imports by name.",
            hint="--format docker: its folder starts with `python -m promptflow.serving .` wherever Python is",
        )
    if format not in FORMATS:
        raise ValidationException(f"There is no format '{format}'.", hint=f"one of: {', '.join(FORMATS)}")


def make_room(target: Path, marks: tuple[str, ...]) -> None:
    """Only what was written here is overwritten: a folder with all of ``marks``. UserErrorException."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        return
    was_written = bool(marks) and all((target / name).exists() for name in marks)
    if not target.is_dir() or (any(target.iterdir()) and not was_written):
        raise UserErrorException(f"{target} is there, and holds something else.", hint="choose a new --output")


def definition_of(file: Path) -> Any:
    """What a flow's file says, of any kind of flow."""
    if file.suffix == ".prompty":
        from promptflow.executor.prompty import Prompty  # the path to models, for this kind only

        return Prompty.load(file).definition()
    return load_flow_definition(file)


def uses_local(flow: Path) -> bool:
    """Whether the flow names the built-in connection, whose engine is an extra."""
    files = (path for path in flow.rglob("*") if path.suffix in (".yaml", ".yml", ".prompty"))
    return any(_LOCAL.search(file.read_text(encoding="utf-8", errors="replace")) for file in files)


def _image_name(value: Any) -> str:
    """Microsoft's own images are gone: flows that name one get Python's."""
    text = str(value or "")
    return "" if "mcr.microsoft.com" in text or "/" not in text and ":" not in text else text
