"""`Model.get_model_path` as scripts of deployments call it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class Model:
    """A model of the deployment."""

    @staticmethod
    def get_model_path(model_name: str, version: int | None = None, _workspace: Any = None) -> str:
        """The file or folder of that name below AZUREML_MODEL_DIR; where there is none, the deployment's one model."""
        folder = Path(os.environ.get("AZUREML_MODEL_DIR", "."))
        named = folder / model_name
        if named.exists():
            return str(named)
        there = sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".")) if folder.is_dir() else []
        if len(there) == 1:
            return str(there[0])
        names = ", ".join(entry.name for entry in there) or "nothing"
        raise FileNotFoundError(f"There is no model {model_name!r} in AZUREML_MODEL_DIR ({folder}), which has {names}.")
