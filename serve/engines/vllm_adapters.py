"""LoRA adapters on disk, as vLLM takes them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from promptflow.exceptions import ValidationException
from serve.engines.base import UnsupportedError
from serve.engines.json_file import read_json

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class Adapter:
    """A LoRA on disk; ``called`` is its name in the server, which no other load of it has."""

    folder: Path
    rank: int
    called: str


def adapter_rank(folder: Path) -> int:
    """Of a LoRA in PEFT's layout; says what is wrong with others."""
    config = read_json(folder / CONFIG)
    if not config:
        raise ValidationException(f"The folder {folder} holds no adapter_config.json.", hint="give a LoRA's folder")
    if config.get("peft_type") != "LORA":
        raise UnsupportedError(f"The adapter in {folder} is a {config.get('peft_type')}; only LORA can be run.")
    if not (folder / WEIGHTS).is_file():
        raise ValidationException(f"The folder {folder} holds no {WEIGHTS}.", hint="pickled adapters are not read")
    ranks = [config.get("r", 8), *(config.get("rank_pattern") or {}).values()]
    counts = [rank for rank in ranks if isinstance(rank, int) and 0 < rank]
    if counts != ranks:
        raise ValidationException(f"The adapter in {folder} names the ranks {ranks}.")
    return max(counts)


def write_zeros(adapter: Path, folder: Path) -> Path:
    """The ``folder`` of a LoRA with the layers and ranks of ``adapter``, all of them zeros. The format is 8 bytes of
    header length, the header, and the tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(adapter / CONFIG, folder / CONFIG)
    with (adapter / WEIGHTS).open("rb") as source, (folder / WEIGHTS).open("wb") as out:
        length = source.read(8)
        out.write(length + source.read(int.from_bytes(length, "little")))
        out.truncate((adapter / WEIGHTS).stat().st_size)
    return folder
