"""`Weights`: how many bytes the tensors of a model take, as they are stored and in other types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from promptflow.exceptions import UserErrorException

# Bits of each type: https://huggingface.co/docs/safetensors/index#format and the library's `Dtype`.
BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "U64": 64, "I32": 32, "U32": 32, "I16": 16, "U16": 16,
    "I8": 8, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64,
}  # fmt: skip
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})  # what engines cast to the type that they calculate in
# Bits per weight of layers that are quantised; embeddings, norms and routers stay as they are. fp8: a scale in float32
# per 128 x 128 block. int4: a 16-bit scale and a 4-bit zero point per group of 128 (AWQ, https://arxiv.org/abs/2306.00978)
# and, to be sure, of 32.
QUANTISED = {"fp8": 8.01, "int8": 8.5, "int4": 4.625}
# The tensors that quantising leaves alone. Everything with one dimension is left alone, too.
_LEFT = re.compile(
    r"embed|wte|wpe|lm_head|output\.weight$|norm|router|\bgate\.weight|mlp\.gate\.|visual|vision|audio|conv1d|A_log"
)
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors$")


class WeightsError(UserErrorException):
    """The weights of a model are not what the format says they are."""

    http_status = 422


@dataclass(frozen=True)
class Weights:
    """``stored``: bytes of all tensors on disk, to the byte where ``exact``. ``numbers`` counts the numbers by type,
    and ``left`` those among them that quantising leaves alone; both are empty where only the bytes are known.
    ``largest``: bytes of the largest tensor, 0 if not known. ``unread``: why no engine reads them as they are.
    """

    stored: int
    exact: bool = True
    numbers: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, int] = field(default_factory=dict)
    largest: int = 0
    unread: str = ""

    @property
    def parameters(self) -> int | None:
        """How many numbers, where they are not packed several to a word."""
        whole = self.numbers and not any(kind in self.numbers for kind in ("I32", "U8", "I8"))
        return sum(self.numbers.values()) if whole else None

    def bytes_in(self, size: int, packed: bool = False) -> int:
        """Bytes when floats are cast to ``size`` bytes each; those of less than 16 bits stay where they are ``packed``,
        which a quantised model says of itself. Where types are not known nothing shrinks, and 16 bits are doubled."""
        if not self.numbers:
            return self.stored * max(1, size // 2)
        return sum(
            count * size if kind in FLOATS or kind.startswith("F") and not packed else -(-count * BITS[kind] // 8)
            for kind, count in self.numbers.items()
        )

    def bytes_quantised(self, kind: str, size: int) -> int | None:
        """Bytes of a copy whose layers are stored as ``kind`` (fp8, int8 or int4), the rest in ``size`` bytes; None
        where it is not known what the weights are."""
        if not self.numbers or any(name not in FLOATS for name in self.numbers):
            return None
        left = sum(self.left.values())
        return left * size + int((sum(self.numbers.values()) - left) * QUANTISED[kind] / 8) + 1


def unread(form: str) -> str:
    """Why no engine reads weights of this form."""
    return f"its weights are {form}, which no engine here loads"


def weight_files(names: Iterable[str]) -> tuple[str, ...]:
    """The safetensors files that engines load: not the second copies, adapters or variants that repositories hold."""
    found = sorted(name for name in names if name.endswith(".safetensors") and "/" not in name)
    if "model.safetensors" in found:
        return ("model.safetensors",)
    if shards := tuple(name for name in found if _SHARD.match(name)):
        return shards
    return tuple(name for name in found if not name.startswith("adapter_"))


def count_weights(headers: Mapping[str, Mapping[str, Any]]) -> Weights:
    """Adds up the headers of safetensors files, by file; WeightsError where one contradicts itself."""
    stored = largest = 0
    numbers: dict[str, int] = {}
    left: dict[str, int] = {}
    for file, header in headers.items():
        for name, told in header.items():
            if name == "__metadata__":
                continue
            kind, shape, size = _tensor(file, name, told)
            count = 1
            for length in shape:
                count *= length
            if -(-count * BITS[kind] // 8) != size:
                raise WeightsError(f"{file}: the tensor {name[:80]} has {size} bytes, which its shape does not need.")
            stored, largest = stored + size, max(largest, size)
            numbers[kind] = numbers.get(kind, 0) + count
            if len(shape) < 2 or _LEFT.search(name):
                left[kind] = left.get(kind, 0) + count
    return Weights(stored, True, numbers, left, largest)


def _tensor(file: str, name: str, told: Any) -> tuple[str, list[int], int]:
    """Type, shape and bytes of one tensor of a header."""
    try:
        kind, shape, (start, end) = told["dtype"], told["shape"], told["data_offsets"]
        sane = all(type(one) is int and 0 <= one < 1 << 50 for one in (*shape, start, end)) and start <= end
    except (TypeError, KeyError, ValueError):
        sane = False
    if not sane:
        raise WeightsError(f"{file}: the header of the tensor {name[:80]} makes no sense.")
    if not isinstance(kind, str) or kind not in BITS:
        raise WeightsError(f"{file}: the tensor {name[:80]} is of an unknown type, {str(kind)[:20]}.")
    return kind, shape, end - start
