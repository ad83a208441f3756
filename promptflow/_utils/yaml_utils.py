"""Door: YAML reading under Microsoft's private name."""

from pathlib import Path
from typing import IO, Any

from promptflow.workspace.yamlfile import load_yaml as _load_file
from promptflow.workspace.yamlfile import load_yaml_text


def load_yaml(source: "Path | str | IO[str] | None") -> Any:
    """The content of a YAML file, given by path or open."""
    if source is None:
        return {}
    if isinstance(source, str | Path):
        return _load_file(Path(source))[0]
    return load_yaml_text(source.read(), getattr(source, "name", "<stream>"))[0]
