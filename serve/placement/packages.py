"""The packages that an instance needs away from here, in the versions that it runs with here."""

from __future__ import annotations

from importlib import metadata

from packaging.utils import canonicalize_name

from promptflow.serving.export.build import definition_of, uses_local
from promptflow.serving.export.lock import Lock, imported, lines_of, lock_lines, lock_requirements, owners_of
from promptflow.workspace import Workspace
from serve.endpoints.spec import FLOW, LLM, MODEL, Spec
from serve.engines import WORDS
from serve.engines.kinds import kind_of as engine_for
from serve.environments.build import Environments, packages_of, site_packages

# What loads a model of a kind; those that are not installed are not needed by it.
MODULES = {
    "sklearn": ("sklearn", "joblib", "skops", "numpy", "pandas"),
    "torch": ("torch", "numpy"),
    "onnx": ("onnxruntime", "numpy"),
    "lightgbm": ("lightgbm", "numpy", "pandas"),
    "xgboost": ("xgboost", "numpy", "pandas"),
    "mlflow": ("numpy", "pandas", "yaml"),
}
EXTRAS = {"onnx": ("cpu",), "transformers": ("local",), "remote": (), "fake": (), "words": ()}
SYSTEM = {"lightgbm": "libgomp1"}  # what wheels need of Debian that Python's slim image lacks


def lock_of(spec: Spec, workspace: Workspace) -> tuple[Lock, list[str]]:
    """The packages, and what is to be said about them."""
    if spec.kind == FLOW:
        assert spec.code is not None
        definition = definition_of(spec.code / spec.scoring_script)
        lock = lock_requirements(spec.code, definition.environment or {}, ["cpu"] if uses_local(spec.code) else [])
    else:
        lock = lock_lines(_lines(spec), _extras(spec))
    if not spec.environment.is_own:
        return lock, []
    return _with_own(lock, spec, workspace)


def system_packages(lock: Lock) -> tuple[str, ...]:
    return tuple(SYSTEM[name] for name in lock.pins if name in SYSTEM)


def _lines(spec: Spec) -> list[str]:
    lines = imported(spec.code) if spec.code is not None else []
    if spec.kind != MODEL or spec.model_path is None:
        return lines
    from serve.scorers.models import kind_of, the_file  # these have numpy, which other kinds do without

    found = the_file(spec.model_path)
    lines += owners_of(MODULES.get(str(spec.options.get("flavor") or kind_of(found)), ()))
    listed = found / "requirements.txt" if found.is_dir() else None
    if listed is not None and listed.is_file():
        lines += lines_of(listed.read_text(encoding="utf-8"))
    return lines


def _extras(spec: Spec) -> tuple[str, ...]:
    if spec.kind != LLM:
        return ()
    engine = str(spec.options.get("engine") or "") or ("words" if spec.model == WORDS else "")
    if not engine and spec.model_path is not None:
        engine = engine_for(spec.model_path, vllm=lambda: False)  # which is no part of an image of ours
    return EXTRAS.get(engine, ("cpu", "local"))


def _with_own(lock: Lock, spec: Spec, workspace: Workspace) -> tuple[Lock, list[str]]:
    """The environment's packages before ours, as in its venv; as they were asked for where that is not made yet."""
    packages = packages_of(spec.environment)
    notes = list(packages.notes)
    python = Environments(workspace.home).there(spec.environment)
    if python is None:
        for line in packages.requirements:
            lock.pins.pop(canonicalize_name(_name(line)), None)
        lock.unlocked += [line for line in packages.requirements if line not in lock.unlocked]
        return lock, notes
    for found in metadata.distributions(path=[str(site_packages(python))]):
        name = canonicalize_name(found.name)
        if name != "pip":
            lock.pins[name] = f"{found.name}=={found.version.partition('+')[0]}"
    return lock, notes


def _name(line: str) -> str:
    """The name at the beginning of a requirement; of an address or an option, nothing that is a name."""
    end = next((at for at, letter in enumerate(line) if not (letter.isalnum() or letter in "._-")), len(line))
    return line[:end]
