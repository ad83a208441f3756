"""What a model was written with, where that is another version than is here: it loads, and may answer otherwise."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

# flavour of MLflow -> the key of the version that it was saved with, the package, and what else that is called
LIBRARIES = {
    "sklearn": ("sklearn_version", "scikit-learn"),
    "lightgbm": ("lgb_version", "lightgbm"),
    "xgboost": ("xgb_version", "xgboost", "xgboost-cpu"),
    "pytorch": ("pytorch_version", "torch"),
}
MOST = 5  # packages that are named
_OUR_OWN = frozenset(("mlflow", "mlflow-skinny", "pip", "setuptools"))  # of which the model is not made


class VersionGapWarning(UserWarning):
    """A model was written by another version of a library than is installed."""

    def __init__(self, package: str, written: str, here: str) -> None:
        super().__init__(_gap(package, written, here))
        self.package = package


@contextlib.contextmanager
def noticed() -> Iterator[list[str]]:
    """The gaps that whoever loads something within it is warned of, scikit-learn's own warnings among them; one for
    each package, for the file itself knows better than what was written down beside it. Other warnings go where they
    went."""
    found, named_already, before = list[str](), set[str](), warnings.showwarning

    def show(message: Any, *rest: Any, **named: Any) -> None:
        gap = _gap_of(message)
        if gap is None:
            before(message, *rest, **named)
        elif gap.package not in named_already:
            named_already.add(gap.package)
            found.append(str(gap))

    warnings.showwarning = show
    try:
        yield found
    finally:
        warnings.showwarning = before


def warn_of_flavor(name: str, conf: Mapping[str, Any]) -> None:
    """Of the version of a flavour's library that an ``MLmodel`` tells."""
    key, *packages = LIBRARIES.get(name, ("", ""))
    if conf.get(key):
        _compare(packages, str(conf[key]))


def warn_of_pins(folder: Path) -> None:
    """Of the packages that the ``requirements.txt`` of an MLflow folder names in exactly one version."""
    try:
        lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    told = 0
    for line in lines:
        name, equal, version = line.partition(";")[0].partition("==")
        package = name.partition("[")[0].strip()
        if equal and package.lower() not in _OUR_OWN and told < MOST:
            told += _compare([package], version.strip())


def _compare(packages: list[str], written: str) -> bool:
    """Whether there was something to warn of."""
    here = next((found for name in packages if (found := _installed(name))), "")
    if here.partition("+")[0] == written.partition("+")[0]:
        return False
    warnings.warn(VersionGapWarning(packages[0], written, here), stacklevel=2)
    return True


def _gap_of(message: Any) -> VersionGapWarning | None:
    if isinstance(message, VersionGapWarning):
        return message
    written, here = (getattr(message, f"{name}_sklearn_version", "") for name in ("original", "current"))
    return VersionGapWarning("scikit-learn", written, here) if written and here else None


def _gap(package: str, written: str, here: str) -> str:
    now = f"here is {here}" if here else "it is not installed here"
    return (
        f"The model was written with {package} {written}, and {now}: it may answer otherwise. "
        f"{package}=={written.partition('+')[0]} in the conda_file of the deployment's environment runs it as it was."
    )


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
