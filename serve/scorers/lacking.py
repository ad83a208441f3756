"""What helps where a module cannot be imported."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec


def lacking(module: str) -> str:
    """Its package, or another version of the package: pickles name modules that other versions do not have."""
    package = module.partition(".")[0]
    if package == module or find_spec(package) is None:
        return f"add '{package}' to the conda_file of the deployment's environment"
    name = next(iter(metadata.packages_distributions().get(package, ())), "")
    if not name:
        return f"the '{package}' that is found first is another one"
    return f"{name} {metadata.version(name)} has no '{module}': name the version that has it in the conda_file"
