"""What safetensors files hold, from a few kilobytes of each.

The format (https://huggingface.co/docs/safetensors/index#format) is 8 bytes of header length, little endian, a header
of JSON, and the tensors. So the bytes of all tensors are known to the byte from the size of a file and its first 8.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from catalog.weights import BITS, Weights, WeightsError, count_weights

BUDGET = 850_000  # bytes of one model that are read to know what it needs: of 1 MB, without the list of its files
HEAD = 1_000  # bytes that a request and its answer have beside what was asked for
FIRST = 48 << 10  # bytes of a file that are asked for first: most headers are not longer
LONGEST = 100_000_000  # bytes of a header, by the format
AT_ONCE = 8

Reader = Callable[[str, int, int], bytes]  # file, first byte, the byte after the last


def read_weights(
    files: Mapping[str, int], read: Reader, budget: int = BUDGET, dtypes: Mapping[str, int] | None = None
) -> Weights:
    """The tensors of ``files`` (name → bytes), reading at most ``budget`` bytes, heads of requests included.

    Bytes are always exact. Where the headers are longer than the budget, types are those that the hub counted
    (``dtypes``, numbers by type), if they add up to the same bytes; else they are left out.
    """
    if 8 * len(files) > budget:
        raise WeightsError(f"The weights are in {len(files)} files, which cannot be looked at one by one.")
    budget = max(budget - HEAD * len(files), 8 * len(files))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = _beginnings(files, read, budget, pool)
        spent = sum(len(text) + 8 for _, text in begun.values())
        missing = sum(length - len(text) for length, text in begun.values())
        stored = sum(size - 8 - begun[name][0] for name, size in files.items())
        if missing > budget - spent:
            return Weights(stored, True, _checked(dtypes or {}, stored))
        texts = pool.map(lambda name: _rest(name, *begun[name], read), files)
        headers = {name: parse_header(name, text) for name, text in zip(files, texts, strict=True)}
    weights = count_weights(headers)
    if weights.stored != stored:
        raise WeightsError(f"The tensors have {weights.stored} bytes by their headers, but the files have {stored}.")
    return weights


def _beginnings(
    files: Mapping[str, int], read: Reader, budget: int, pool: ThreadPoolExecutor
) -> dict[str, tuple[int, bytes]]:
    """Of each file, the length of its header, and as much of it as came with the first bytes."""
    names, first = list(files), max(8, min(FIRST, budget // max(1, len(files))))
    begun = {}
    if first < FIRST:  # of many files: if they are like the first one, there may be too many bytes to read them all
        begun[names[0]] = _begin(names[0], files[names[0]], first, read)
        first = 8 if begun[names[0]][0] * len(files) > budget else first
    left = names[len(begun) :]
    return begun | dict(zip(left, pool.map(lambda name: _begin(name, files[name], first, read), left), strict=True))


def header_length(file: str, first: bytes, size: int) -> int:
    """The length of the header, from the first 8 bytes of a file of ``size`` bytes; WeightsError if it cannot be."""
    if len(first) < 8:
        raise WeightsError(f"{file} is cut off: {len(first)} bytes are no safetensors file.")
    length = int.from_bytes(first[:8], "little")
    if length > LONGEST:
        raise WeightsError(
            f"{file} says that its header has {length} bytes; the format allows {LONGEST}.",
            hint="this is no safetensors file, or a damaged one",
        )
    if length < 2 or 8 + length > size:
        raise WeightsError(f"{file} is cut off: its header should have {length} bytes, the file has {size}.")
    return length


def parse_header(file: str, text: bytes) -> dict[str, Any]:
    """Tensors by name, as the header describes them."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"The header of {file} is no JSON: {error}.") from error
    if not isinstance(header, dict):
        raise WeightsError(f"The header of {file} is no JSON object.")
    return header


def _begin(name: str, size: int, first: int, read: Reader) -> tuple[int, bytes]:
    """The length of a file's header, and as much of it as came with the first bytes."""
    data = read(name, 0, min(first, size) if size else 8)
    length = header_length(name, data, size)
    return length, data[8 : 8 + length]


def _rest(name: str, length: int, text: bytes, read: Reader) -> bytes:
    if len(text) < length:
        text += read(name, 8 + len(text), 8 + length)
    if len(text) < length:
        raise WeightsError(f"{name} is cut off: its header should have {length} bytes, {len(text)} came.")
    return text


def _checked(dtypes: Mapping[str, int], stored: int) -> Mapping[str, int]:
    """The hub's counts, if they are of these very tensors."""
    known: Iterable[tuple[str, int]] = [(kind, count) for kind, count in dtypes.items() if kind in BITS]
    return dict(known) if sum(count * BITS[kind] // 8 for kind, count in known) == stored else {}
