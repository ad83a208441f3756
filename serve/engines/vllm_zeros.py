"""An adapter that changes nothing, in the shape of another."""

from __future__ import annotations

import shutil
from pathlib import Path

NAME, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def write_zeros(adapter: Path, folder: Path) -> Path:
    """The ``folder`` of a LoRA with the layers and ranks of ``adapter``, all of them zeros. The format is 8 bytes of
    header length, the header, and the tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(adapter / CONFIG, folder / CONFIG)
    with (adapter / NAME).open("rb") as source, (folder / NAME).open("wb") as out:
        length = source.read(8)
        out.write(length + source.read(int.from_bytes(length, "little")))
        out.truncate((adapter / NAME).stat().st_size)
    return folder
