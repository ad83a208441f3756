"""Search a hub. It is asked for what it can tell; what it left in is looked at again here."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from catalog.facts import facts_of
from catalog.fit import predict
from catalog.formats import WEIGHTS
from catalog.hub import Hub
from catalog.hubinfo import ModelInfo
from catalog.licences import is_open
from catalog.machine import Machine
from promptflow.exceptions import UserErrorException, ValidationException

OPEN = "open"  # for --licence: whatever allows every use
_LOOKED = 2000  # how many models of a hub are looked at before a search gives up
_AT_ONCE = 8
_BITS = {
    "F64": 64, "I64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16, "I8": 8,
    "U8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "BOOL": 8, "F4": 4, "I4": 4, "U4": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Query:
    """What to look for. ``most_parameters`` counts parameters, ``most_size`` bytes of weights. A model of which the hub
    does not tell what is asked for is left out."""

    text: str = ""
    task: str = ""
    author: str = ""
    licence: str = ""
    format: str = ""
    least_parameters: int = 0
    most_parameters: int = 0
    most_size: int = 0
    open_only: bool = False
    sort: str = "downloads"


def search(hub: Hub, query: Query, limit: int | None = 20, machine: Machine | None = None) -> list[ModelInfo]:
    """The first models that match, in the order of ``query.sort``; with a machine, those that surely run there."""
    if query.format and query.format not in WEIGHTS:
        raise ValidationException(f"There is no format {query.format}.", hint=f"one of {', '.join(WEIGHTS)}")
    found = (model for model in _asked(hub, query) if _matches(model, query))
    return list(islice(found if machine is None else _running(found, hub, machine), limit))


def _running(models: Iterator[ModelInfo], hub: Hub, machine: Machine) -> Iterator[ModelInfo]:
    """Those that would run on the machine. Some are looked at together, as each takes requests of its own."""

    def fits(model: ModelInfo) -> bool:
        try:
            facts = facts_of(model.id, model.sha or None, hub=hub)
            told = predict(facts.config, facts.weights, machine, onnx=facts.onnx, onnx_first=facts.onnx_first)
            return told.fits is True
        except UserErrorException:  # gated, or nothing that can be told from its files
            return False

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for some in _batches(models, _AT_ONCE):
            yield from (model for model, good in zip(some, pool.map(fits, some), strict=True) if good)


def _batches(models: Iterator[ModelInfo], size: int) -> Iterator[list[ModelInfo]]:
    while some := list(islice(models, size)):
        yield some


def weight_bytes(model: ModelInfo) -> int | None:
    """Bytes of the weights, by the numbers of each type; None if the hub does not tell them."""
    if model.dtypes:
        return sum(count * _BITS.get(name, 32) // 8 for name, count in model.dtypes.items())
    size = model.gguf.get("totalFileSize")
    return size if isinstance(size, int) else None


def model_formats(model: ModelInfo) -> tuple[str, ...]:
    """The formats of its weights, by what the hub says of a model in a list."""
    return tuple(
        name for name in WEIGHTS if name in model.tags or name == "safetensors" and model.dtypes
        or name == "gguf" and model.gguf or name == model.library
    )  # fmt: skip


def _asked(hub: Hub, query: Query) -> Iterator[ModelInfo]:
    licence = f"license:{query.licence.lower()}" if query.licence and query.licence != OPEN else ""
    found = hub.search(
        query.text,
        task=query.task,
        author=query.author,
        tags=tuple(tag for tag in (licence, query.format) if tag),
        parameters=_between(query.least_parameters, query.most_parameters),
        sort=query.sort,
        gated=False if query.open_only else None,
    )
    return islice(found, _LOOKED)


def _between(least: int, most: int) -> str:
    """As the hub reads it: ``min:6000000000,max:8000000000``."""
    return ",".join([*([f"min:{least}"] if least else []), *([f"max:{most}"] if most else [])])


def _matches(model: ModelInfo, query: Query) -> bool:
    size, count = weight_bytes(model), model.parameters
    licence = query.licence.lower()
    return (
        (not licence or (is_open(model.licence) if licence == OPEN else model.licence.lower() == licence))
        and (not query.task or model.task == query.task)
        and (not query.format or query.format in model_formats(model))
        and (not query.open_only or not model.gated)
        and (not query.least_parameters or count is not None and count >= query.least_parameters)
        and (not query.most_parameters or count is not None and count <= query.most_parameters)
        and (not query.most_size or size is not None and size <= query.most_size)
    )
