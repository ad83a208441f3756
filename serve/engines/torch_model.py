"""Loading a model folder with transformers: device, number type, and errors that say what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need
from serve.engines.json_file import read_json

torch = need("torch", extra="local")
transformers = need("transformers", extra="local")

DTYPES = ("auto", "float32", "bfloat16", "float16")


def load_model(folder: Path, kind: str, device: str, dtype: str, unused: tuple[str, ...] = ()) -> Any:
    """The model, ready to run. ``kind`` is one of transformers' Auto classes. Only safetensors are read, no code of
    the model's own runs, and weights that are missing are an error: transformers would make them up. Names that begin
    with one of ``unused`` may be missing."""
    config = read_json(folder / "config.json")
    if not config:
        raise ValidationException(f"The folder {folder} holds no config.json.")
    if config.get("auto_map") and config.get("model_type") not in transformers.CONFIG_MAPPING:
        raise ValidationException(
            f"The model in {folder} needs code of its own, which is not run.",
            hint="choose a model that transformers knows",
        )
    where = pick_device(device)
    transformers.utils.logging.disable_progress_bar()
    try:
        model, told = getattr(transformers, kind).from_pretrained(
            folder,
            dtype=pick_dtype(where, dtype),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        model = model.to(where).eval()
    except torch.OutOfMemoryError as error:
        raise ValidationException(f"The model in {folder} does not fit the memory of {where}: {error}") from error
    except Exception as error:  # transformers raises all kinds, by what is wrong with the files
        raise ValidationException(f"transformers cannot load the model in {folder}: {error}") from error
    if missing := sorted(name for name in told["missing_keys"] if not name.startswith(unused)):
        raise ValidationException(f"The weights in {folder} lack {len(missing)} tensors, {missing[0]} for one.")
    if mismatched := sorted(str(one) for one in told["mismatched_keys"]):
        raise ValidationException(f"The weights in {folder} do not fit its config.json: {mismatched[0]}")
    return model.requires_grad_(False)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer, of the tokenizers library; made from the older formats where there is no tokenizer.json."""
    file = folder / "tokenizer.json"
    try:
        if file.is_file():
            tokenizer = need("tokenizers", extra="local").Tokenizer.from_file(str(file))
        else:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
    except Exception as error:  # as above
        raise ValidationException(f"The tokenizer in {folder} cannot be loaded: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def pick_device(asked: str) -> str:
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "cuda"
    return "cpu"


def pick_dtype(device: str, asked: str) -> Any:
    """On a CPU bfloat16 only where the processor multiplies it: elsewhere it is several times slower than float32."""
    if asked not in DTYPES:
        raise ValidationException(f"There is no dtype '{asked}'.", hint=f"one of {', '.join(DTYPES)}")
    if asked != "auto":
        return getattr(torch, asked)
    if device.startswith("cpu"):
        return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32
    return "auto"


def memory() -> Any:
    """Of this machine, in bytes: ``available`` and ``total``."""
    return need("psutil", extra="local").virtual_memory()
