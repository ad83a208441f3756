"""Name or folder → engine. An engine's own imports happen when it is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.plugins import Registry
from serve.engines.base import Engine
from serve.engines.kinds import kind_of, task_of

NO_FILES = ("fake", "remote")  # engines whose models are somewhere else
BUILTIN = Path(__file__).parent / "builtin"
WORDS = "builtin/words"

# A factory gets the model's name, its folder, and the options that are this engine's own.
engines: Registry[Callable[..., Engine]] = Registry("engine", group="promptflow.engines")


@engines.register("fake")
def _fake(model: str, folder: Path | None = None, **options: Any) -> Engine:
    from serve.engines.fake import EchoEngine

    return EchoEngine(model)


@engines.register("words")
def _words(model: str, folder: Path | None = None, **options: Any) -> Engine:
    from serve.engines.words import WordsEngine

    return WordsEngine(model)


@engines.register("onnx")
def _onnx(model: str, folder: Path, **options: Any) -> Engine:
    if task_of(folder) == "generate":
        from serve.engines.onnx import OnnxEngine

        return OnnxEngine(model, folder, **options)
    from serve.engines.encoding import EncoderEngine
    from serve.engines.onnx import read_tokenizer
    from serve.engines.onnx_encoder import OnnxEncoder

    return EncoderEngine(model, folder, lambda: (read_tokenizer(folder), OnnxEncoder(folder, **options)))


@engines.register("transformers")
def _transformers(model: str, folder: Path, **options: Any) -> Engine:
    task = task_of(folder)
    if task in ("generate", "see"):
        from serve.engines.transformers import TransformersEngine

        return TransformersEngine(model, folder, **options)
    from serve.engines.encoding import EncoderEngine
    from serve.engines.torch_encoder import TorchEncoder
    from serve.engines.torch_model import load_tokenizer

    return EncoderEngine(model, folder, lambda: (load_tokenizer(folder), TorchEncoder(folder, task, **options)))


@engines.register("vllm")
def _vllm(model: str, folder: Path, **options: Any) -> Engine:
    from serve.engines.vllm import VllmEngine

    return VllmEngine(model, folder, **options)


@engines.register("remote")
def _remote(model: str, folder: Path | None = None, **options: Any) -> Engine:
    from serve.engines.remote import RemoteEngine

    return RemoteEngine(model, **options)


def open_engine(model: str, kind: str = "", folder: Path | None = None, **options: Any) -> Engine:
    """The engine for a model, not loaded yet. ``model`` is what it will be called: ``builtin/NAME``, ``fake/NAME``, a
    folder, or any name together with its ``folder``. ``kind`` names the engine; by default what fits the folder."""
    if not kind and model.startswith("fake/"):
        kind = "fake"
    if not kind and model == WORDS:
        kind = "words"
    if kind in NO_FILES:
        return engines.get(kind)(model, **options)
    place = find_folder(model) if folder is None else folder
    return engines.get(kind or kind_of(place))(model, place, **options)


def builtin_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(f"builtin/{folder.name}" for folder in BUILTIN.iterdir() if (folder / "config.json").is_file())


def find_folder(model: str) -> Path:
    """The folder of ``model``: one of ours by name, else a path."""
    folder = BUILTIN / model.removeprefix("builtin/") if model.startswith("builtin/") else Path(model).expanduser()
    if folder.is_dir():
        return folder
    raise ValidationException(
        f"There is no model '{model}'.", hint=f"give one of {', '.join(builtin_models())}, or the folder of a model"
    )
