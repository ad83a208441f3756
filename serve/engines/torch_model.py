"""Loading a model folder with transformers: device, number type, and errors that say what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    check_shape(folder, config)
    where = pick_device(device)
    transformers.utils.logging.disable_progress_bar()
    try:
        with _quiet():
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


def check_shape(folder: Path, config: Mapping[str, Any]) -> None:
    """ValidationException where config.json tells of far more than the weights hold: making a model of that takes
    hours and all memory, before anything is read."""
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else config
    for name in ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size", "vocab_size"):
        if isinstance(text.get(name), int) and text[name] < 1:
            raise ValidationException(f"The config.json in {folder} has {text[name]} as its {name}.")
    layers, words, wide = (_whole(text, name) for name in ("num_hidden_layers", "vocab_size", "hidden_size"))
    files = list(folder.glob("*.safetensors"))
    tensors = sum(_tensors(file) for file in files)
    size = sum(file.stat().st_size for file in files)
    if files and layers > tensors:
        raise ValidationException(
            f"The config.json in {folder} tells of {layers} layers; its weights are {tensors} tensors."
        )
    if files and words * wide // 2 > size:  # half a byte for each number of the table of words
        raise ValidationException(
            f"The config.json in {folder} tells of {words} words in {wide} numbers each; its weights have {size} bytes."
        )


def _whole(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _tensors(file: Path) -> int:
    safetensors = need("safetensors", extra="local")
    try:
        with safetensors.safe_open(str(file), framework="pt") as opened:
            return len(opened.keys())
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:  # one that memory has no addresses for
        raise ValidationException(f"The weights {file} cannot be read: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers' own report of what is missing is a page long; ours is a sentence."""
    logging = transformers.utils.logging
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


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
