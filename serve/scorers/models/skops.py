"""skops files: no code of theirs runs, and types that neither skops nor the user trusts are refused.

skops trusts all estimators of scikit-learn, and imports all of scikit-learn to know them, with torch where that is
installed: seconds, for a file that needs a few modules. So it is first told only of those that the file names; where
these are not all that there is, it finds out for itself.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serve.scorers.base import LoadError
from serve.scorers.models.base import Loading
from serve.scorers.models.pickles import guarded

_NAME = re.compile(r"sklearn(\.[a-z_0-9]+)+")
_NOT_PUBLIC = frozenset(("tests", "externals", "setup", "conftest", "experimental", "estimator_checks"))


def read_skops(loading: Loading) -> Any:
    """What is in the file. LoadError for types that nobody trusts, each by name; ``allow_pickle`` trusts all."""
    return guarded(lambda: _read(loading), loading.path)


def _read(loading: Loading) -> Any:
    trusted = set(map(str, loading.options.get("trusted") or ()))
    skops = _told_of(loading.path)
    needed = skops.get_untrusted_types(file=loading.path)
    if not loading.pickles and {*needed} - trusted:
        skops = _by_itself()
        needed = skops.get_untrusted_types(file=loading.path)
    unknown = [name for name in needed if name not in trusted and not loading.pickles]
    if unknown:
        raise LoadError(
            f"{loading.path.name} holds types that nobody has said to be trusted: {', '.join(unknown)}.",
            hint=f"if you trust them: `options: {{trusted: [{', '.join(unknown)}]}}`, or `allow_pickle: true`",
        )
    return skops.load(loading.path, trusted=list(needed))


def _told_of(path: Path) -> Any:
    """``skops.io``, which has been told of the estimators that ``path`` names, if it was not imported before."""
    known = sys.modules.get("skops.io")
    if known is not None:
        return known
    import sklearn.utils

    found = [(kind.__name__, kind) for kind in _estimators(_types(path))]
    with _replaced(sklearn.utils, "all_estimators", lambda *_, **__: found):
        return importlib.import_module("skops.io")


def _by_itself() -> Any:
    """``skops.io``, with all that it finds out."""
    for name in [name for name in sys.modules if name == "skops.io" or name.startswith("skops.io.")]:
        del sys.modules[name]
    return importlib.import_module("skops.io")


def _types(path: Path) -> set[tuple[str, str]]:
    """Module and class of everything in the file."""
    with zipfile.ZipFile(path) as archive:
        left, found = [json.loads(archive.read("schema.json"))], set[tuple[str, str]]()
    while left:
        node = left.pop()
        if isinstance(node, dict):
            found.add((str(node.get("__module__")), str(node.get("__class__"))))
            left += node.values()
        elif isinstance(node, list):
            left += node
    return found


def _estimators(types: set[tuple[str, str]]) -> Iterator[type]:
    """Those that scikit-learn's own list would have: classes that the public package of their module shows."""
    from sklearn.base import BaseEstimator

    for module, name in sorted(types):
        parts = module.split(".")
        if not _NAME.fullmatch(module) or not _NOT_PUBLIC.isdisjoint(parts) or name.startswith("_"):
            continue
        inner = next((at for at, part in enumerate(parts) if part.startswith("_")), len(parts))
        with contextlib.suppress(ImportError):
            kind = getattr(importlib.import_module(".".join(parts[:inner])), name, None)
            if (
                inspect.isclass(kind)
                and kind.__module__ == module
                and issubclass(kind, BaseEstimator)
                and kind is not BaseEstimator
                and not inspect.isabstract(kind)
            ):
                yield kind


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name, None)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before) if before is not None else delattr(module, name)
