"""A conda file -> requirements for pip. What has no counterpart there is an error that names it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptflow.exceptions import ValidationException

# https://docs.conda.io/projects/conda/en/stable/user-guide/concepts/pkg-specs.html#package-match-specifications
_SPEC = re.compile(r"(?:[\w.-]+::)?(?P<name>[A-Za-z0-9_.-]+)(?P<version>\s*[=<>!~].*|\s+\S.*)?")
_BUILD = re.compile(r"^(?P<version>[^=\s<>!~]+)=(?P<build>\S+)$")
# what conda calls otherwise than PyPI
NAMES = {
    "pytorch": "torch", "pytorch-cpu": "torch", "py-xgboost": "xgboost-cpu", "py-xgboost-cpu": "xgboost-cpu",
    "xgboost": "xgboost-cpu", "opencv": "opencv-python-headless", "py-opencv": "opencv-python-headless",
    "msgpack-python": "msgpack", "pytables": "tables", "matplotlib-base": "matplotlib", "tensorflow-cpu": "tensorflow",
    "tensorflow-mkl": "tensorflow", "pil": "pillow", "sqlite": "", "seaborn-base": "seaborn", "dask-core": "dask",
    "faiss": "faiss-cpu", "nlopt": "nlopt", "pytorch-lightning": "pytorch-lightning",
}  # fmt: skip
# what belongs to conda itself, or to the interpreter that runs it all
LEFT_OUT = frozenset(
    {"pip", "setuptools", "wheel", "conda", "ca-certificates", "openssl", "certifi", "cpuonly", "sqlite"}
)
NOT_PYTHON = frozenset({
    "cudatoolkit", "cudnn", "cuda", "pytorch-cuda", "nodejs", "gcc", "gxx", "openmpi", "mpich", "r-base", "java-jdk",
    "openjdk", "libgcc", "libgcc-ng", "ffmpeg", "git", "cmake", "make", "compilers", "mkl", "blas", "nccl",
})  # fmt: skip
# Azure's servers: an instance of ours is in their place
SERVERS = frozenset({
    "azureml-defaults", "azureml-inference-server-http", "azureml-sdk", "azureml-core", "azureml-ai-monitoring",
    "azureml-contrib-services",
})  # fmt: skip
# Built for NumPy 1 before these versions, which their metadata on PyPI does not say, and conda's does
BEFORE_NUMPY_2 = {
    "scikit-learn": (1, 4, 2), "pandas": (2, 2, 2), "scipy": (1, 13), "pyarrow": (16,), "torch": (2, 3),
    "h5py": (3, 11), "matplotlib": (3, 8, 4), "numba": (0, 60), "tensorflow": (2, 18),
    "opencv-python-headless": (4, 10), "shap": (0, 46),
}  # fmt: skip
_PINNED = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)\s*(?:\[[^]]*\])?\s*==\s*(?P<version>[0-9.]+)")


@dataclass(frozen=True)
class Packages:
    """``requirements`` are lines for pip; ``python`` the version that was asked for, empty if none was; ``notes`` say
    what was left out or changed."""

    requirements: tuple[str, ...]
    python: str = ""
    notes: tuple[str, ...] = ()


def from_conda(content: Mapping[str, Any], where: str = "conda_file") -> Packages:
    """ValidationException for what pip cannot install."""
    python, lines, notes = "", list[str](), list[str]()
    listed = content.get("dependencies") or []
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise ValidationException(f"The 'dependencies' of {where} must be a list.")
    for entry in listed:
        if isinstance(entry, Mapping):
            given = entry.get("pip") or ()
            if isinstance(given, str) or not isinstance(given, Sequence):
                raise ValidationException(f"The 'pip' of {where} must be a list.", hint="- pip: [scikit-learn==1.5.0]")
            lines += map(str, given)
            continue
        name, version = _parts(str(entry), where)
        if name == "python":
            python = version.lstrip("=~>").partition(",")[0]
        elif name in NOT_PYTHON:
            raise ValidationException(
                f"{where} asks for '{name}', which is no Python package, and conda is not used here.",
                hint=f"take '{name}' out of {where}, and install it on this machine if the code needs it",
            )
        elif name not in LEFT_OUT:
            lines.append(NAMES.get(name, name) + _pinned(version))
    return kept(lines, python, notes)


def kept(lines: Sequence[str], python: str = "", notes: Sequence[str] = ()) -> Packages:
    """Without the servers whose place is taken."""
    good = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    own = [line for line in good if _name(line) in SERVERS]
    if old := _of_numpy_1(good):
        good.append("numpy<2")
        notes = (*notes, f"numpy<2, as {old} was built for it")
    said = [f"{line.strip()} is left out: instances here have a server of their own" for line in own]
    return Packages(tuple(line for line in good if line not in own), python, (*notes, *said))


def _of_numpy_1(lines: Sequence[str]) -> str:
    """The first package that needs NumPy 1, unless NumPy's version is given."""
    pins = [pin for line in lines if (pin := _PINNED.match(line.strip()))]
    if any(_name(line) == "numpy" and line.strip() != "numpy" for line in lines):
        return ""
    old = (pin for pin in pins if _version(pin["version"]) < BEFORE_NUMPY_2.get(_name(pin["name"]), ()))
    return next((pin[0].rstrip(".") for pin in old), "")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.strip(".").split(".") if part)


def _parts(entry: str, where: str) -> tuple[str, str]:
    found = _SPEC.fullmatch(entry.strip())
    if found is None:
        raise ValidationException(f"'{entry}' in {where} is no package.", hint="- numpy=1.26")
    return found["name"].lower(), (found["version"] or "").replace(" ", "")


def _pinned(version: str) -> str:
    """conda's version as pip's: ``=1.26`` is any 1.26, ``==1.26.4`` and ``=1.26.4=build`` exactly that."""
    if version.lstrip("=") in ("", "*"):
        return ""
    if version[0] in "<>!~":
        return version
    exact = version.startswith("==")
    bare = version.lstrip("=")
    if built := _BUILD.match(bare):
        bare, exact = built["version"], True
    if any(mark in bare for mark in ",|<>"):
        return f"=={bare}" if exact else bare
    return f"=={bare}" if exact or bare.endswith("*") or bare.count(".") >= 2 else f"=={bare}.*"


def _name(line: str) -> str:
    return re.split(r"[\s\[<>=!~;@]", line.strip(), maxsplit=1)[0].lower().replace("_", "-")
