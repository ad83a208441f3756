"""Name or folder → engine. An engine's own imports happen when it is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from promptflow.exceptions import ValidationException
from promptflow.workspace.plugins import Registry
from serve.engines.base import Engine

BUILTIN = Path(__file__).parent / "builtin"

engines: Registry[Callable[[str], Engine]] = Registry("engine", group="promptflow.engines")


@engines.register("fake")
def _fake(model: str) -> Engine:
    from serve.engines.fake import EchoEngine

    return EchoEngine(model)


@engines.register("onnx")
def _onnx(model: str) -> Engine:
    from serve.engines.onnx import OnnxEngine

    return OnnxEngine(model, find_folder(model))


def open_engine(model: str) -> Engine:
    """The engine for ``builtin/NAME``, ``fake/NAME`` or a folder with a ``model.onnx``; not loaded yet."""
    return engines.get("fake" if model.startswith("fake/") else "onnx")(model)


def builtin_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(f"builtin/{folder.name}" for folder in BUILTIN.iterdir() if (folder / "model.onnx").is_file())


def find_folder(model: str) -> Path:
    """The folder of ``model``: one of ours by name, else a path."""
    folder = BUILTIN / model.removeprefix("builtin/") if model.startswith("builtin/") else Path(model).expanduser()
    if (folder / "model.onnx").is_file():
        return folder
    if model.startswith("builtin/") or not folder.is_dir():
        raise ValidationException(
            f"There is no model '{model}'.",
            hint=f"give one of {', '.join(builtin_models())}, or a folder that holds model.onnx",
        )
    raise ValidationException(f"The folder {folder} holds no model.onnx.", hint="export the model to ONNX first")
