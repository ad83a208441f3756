"""Other distributions that write over our files. Standard library only: it must work when they already have."""

from __future__ import annotations

# promptflow-tools is none of them: it is made to lie beside us.
OVERWRITING = ("promptflow-core", "promptflow-devkit", "promptflow-azure", "promptflow-tracing", "promptflow-evals")


def overwriting() -> dict[str, str]:
    """Name and version of those that are installed here."""
    import importlib.metadata  # 15 ms, for a broken installation and for `pf doctor`

    found: dict[str, str] = {}
    for name in OVERWRITING:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def told(found: dict[str, str]) -> tuple[str, str]:
    """(what is wrong, how to mend it)."""
    names = ", ".join(f"{name} {version}" for name, version in found.items())
    fix = (
        "use a fresh virtual environment; or: "
        f"pip uninstall -y {' '.join(found)} && pip install --force-reinstall --no-deps promptflow"
    )
    return f"{names}: from Microsoft, and writing over the files of promptflow 2", fix


def explain(error: ImportError) -> str:
    """Why a part of `pf` cannot be imported, in the three lines of every error."""
    found = overwriting()
    if not found:
        hint = "reinstall it: pip install --force-reinstall promptflow"
        return f"error: this installation of promptflow is broken: {error}\n  hint: {hint}"
    message, fix = told(found)
    return f"error: {message}\n  at {error}\n  hint: {fix}"
