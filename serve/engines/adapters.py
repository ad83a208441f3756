"""LoRA adapters of one model: each request runs with its own, all in the same pass.

The layers stay as they are. Where an adapter changes a layer, its `forward` is wrapped: to the tokens of the requests
that use the adapter it adds ``scaling * B(A(x))`` (Hu et al. 2021, eq. 3; scaling is alpha / r, or alpha / sqrt(r) for
rank-stabilised adapters, Kalajdzievski 2023). Adapters come and go while others generate.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need
from serve.engines.base import AdapterNotFoundError, UnsupportedError
from serve.engines.json_file import read_json

torch = need("torch", extra="local")

WEIGHTS = "adapter_model.safetensors"
# What PEFT can add to LoRA, and what is not done here: each changes the sum that the layer makes.
UNKNOWN = (
    "use_dora",
    "modules_to_save",
    "lora_bias",
    "trainable_token_indices",
    "layer_replication",
    "alora_invocation_tokens",
    "target_parameters",
)
KEY = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])\.weight$")


@dataclass(frozen=True)
class Pair:
    """The two matrices for one layer; ``up`` has the scaling in it. ``down`` [in, rank], ``up`` [rank, out]."""

    down: Any
    up: Any


@dataclass(frozen=True)
class Stack:
    """The pairs of several adapters side by side, so that any number of them costs one layer two products.
    ``layout``: (number, rank) of each."""

    key: tuple[int, ...]
    layout: tuple[tuple[int, int], ...]
    down: Any = None
    up: Any = None


class Layer:
    """The pairs of one layer, by number; keeps the stack that was used last."""

    def __init__(self) -> None:
        self.pairs: dict[int, Pair] = {}
        self._stack = Stack((), ())

    def stack(self, key: tuple[int, ...]) -> Stack:
        if self._stack.key != key:
            pairs = {number: self.pairs[number] for number in key if number in self.pairs}
            layout = tuple((number, pair.down.shape[1]) for number, pair in pairs.items())
            if pairs:
                down = torch.cat([pair.down for pair in pairs.values()], dim=1)
                self._stack = Stack(key, layout, down, torch.cat([pair.up for pair in pairs.values()]))
            else:
                self._stack = Stack(key, layout)
        return self._stack


class Adapters:
    """The adapters of ``model``. `use` and `release` count the requests, so that none loses its adapter midway."""

    def __init__(self, name: str, model: Any) -> None:
        self.model_name, self.model = name, model
        # Of the pass that comes next: the adapters in it, and each token's; None where all tokens have the one.
        self._key: tuple[int, ...] = ()
        self._tokens: Any = None
        self._masks: dict[tuple[tuple[int, int], ...], Any] = {}
        self._modules: dict[str, Any] = dict(model.named_modules())
        self._layers: dict[str, Layer] = {}
        self._numbers: dict[str, int] = {}
        self._users: Counter[int] = Counter()
        self._last = 0
        self._change = threading.Condition()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._numbers)

    def use(self, name: str) -> int:
        """The number of the adapter, which stays until it is released as often as it was used."""
        if not name:
            return 0
        with self._change:
            number = self._numbers.get(name)
            if number is None:
                raise AdapterNotFoundError(
                    f"The model '{self.model_name}' has no adapter '{name}'.",
                    hint=f"it has {', '.join(self._numbers)}" if self._numbers else "none is loaded",
                )
            self._users[number] += 1
            return number

    def release(self, number: int) -> None:
        if number:
            with self._change:
                self._users[number] -= 1
                self._change.notify_all()

    def load(self, name: str, folder: Path) -> None:
        """Read an adapter; requests from now on get it. One that had the name goes when nobody uses it any more."""
        pairs = self._read(folder)
        with self._change:
            self._last += 1
            number = self._last
            for path, pair in pairs.items():
                if path not in self._layers:
                    self._layers[path] = Layer()
                    self._wrap(path)
                self._layers[path].pairs[number] = pair
            old = self._numbers.get(name)
            self._numbers[name] = number
        if old is not None:
            self._retire(old)

    def unload(self, name: str) -> None:
        with self._change:
            number = self._numbers.pop(name, None)
        if number is None:
            raise AdapterNotFoundError(f"The model '{self.model_name}' has no adapter '{name}'.")
        self._retire(number)

    def mark(self, numbers: Sequence[tuple[int, int]]) -> None:
        """Say which adapter each token of the next pass has: (number, how many tokens), one entry per request."""
        used = {number for number, _ in numbers}
        self._key = tuple(sorted(used - {0}))
        self._masks = {}
        if self._key and len(used) > 1:
            each = [number for number, count in numbers for _ in range(count)]
            self._tokens = torch.tensor(each, device=self.model.device)
        else:
            self._tokens = None

    def _mask(self, layout: tuple[tuple[int, int], ...]) -> Any:
        """[tokens, ranks]: 1 where a token's own adapter stands in the stack."""
        mask = self._masks.get(layout)
        if mask is None:
            owner = [number for number, rank in layout for _ in range(rank)]
            owners = torch.tensor(owner, device=self.model.device)
            mask = self._masks[layout] = (self._tokens[:, None] == owners).to(self.model.dtype)
        return mask

    def _retire(self, number: int) -> None:
        with self._change:
            self._change.wait_for(lambda: not self._users[number])
            del self._users[number]
            for path, layer in list(self._layers.items()):
                layer.pairs.pop(number, None)
                if not layer.pairs:
                    del self._layers[path]
                    del self._modules[path].forward  # the class's own forward shows again

    def _wrap(self, path: str) -> None:
        module, layer = self._modules[path], self._layers[path]
        forward: Callable[..., Any] = module.forward

        def with_adapters(hidden: Any, *args: Any, **kwargs: Any) -> Any:
            result = forward(hidden, *args, **kwargs)
            if not self._key or not (stack := layer.stack(self._key)).layout:
                return result
            low = hidden @ stack.down
            if self._tokens is not None:
                low *= self._mask(stack.layout)
            result.view(-1, result.shape[-1]).addmm_(low.view(-1, low.shape[-1]), stack.up)
            return result

        module.forward = with_adapters

    def _read(self, folder: Path) -> dict[str, Pair]:
        config = read_config(folder)
        safetensors = need("safetensors", extra="local")
        halves: dict[str, dict[str, Any]] = {}
        try:
            with safetensors.safe_open(str(folder / WEIGHTS), framework="pt") as file:
                for key in file.keys():
                    if (match := KEY.match(key)) is None:
                        raise UnsupportedError(
                            f"The adapter in {folder} has '{key}', which is no LoRA of a linear layer."
                        )
                    halves.setdefault(match[1], {})[match[2]] = file.get_tensor(key)
        except (OSError, safetensors.SafetensorError) as error:
            raise ValidationException(f"The adapter in {folder} cannot be read: {error}") from error
        return {self._path(path, folder): self._pair(path, both, config, folder) for path, both in halves.items()}

    def _path(self, path: str, folder: Path) -> str:
        """The module's name in this model; adapters of models with images may leave out a part in front."""
        if path in self._modules:
            return path
        ends = [name for name in self._modules if name.endswith(f".{path.removeprefix('model.')}")]
        if len(ends) != 1:
            raise ValidationException(
                f"The adapter in {folder} changes '{path}', which the model '{self.model_name}' has not.",
                hint="adapter_config.json names the model it was trained on: base_model_name_or_path",
            )
        return ends[0]

    def _pair(self, path: str, both: Mapping[str, Any], config: Mapping[str, Any], folder: Path) -> Pair:
        module = self._modules[self._path(path, folder)]
        weight = getattr(module, "weight", None)
        if set(both) != {"A", "B"} or weight is None or weight.dim() != 2 or isinstance(module, torch.nn.Embedding):
            raise UnsupportedError(f"The adapter in {folder} changes '{path}', which is no linear layer.")
        if module is self.model.get_output_embeddings():
            raise UnsupportedError(f"The adapter in {folder} changes the output layer '{path}'.")
        # transformers' Conv1D, of GPT-2's time, keeps its matrix the other way round.
        out, wide = weight.shape if isinstance(module, torch.nn.Linear) else weight.shape[::-1]
        rank = both["A"].shape[0]
        if both["A"].shape != (rank, wide) or both["B"].shape != (out, rank):
            raise ValidationException(
                f"The adapter in {folder} does not fit the model '{self.model_name}': '{path}' is {out} x {wide}, "
                f"its matrices are {tuple(both['B'].shape)} and {tuple(both['A'].shape)}."
            )
        kind = {"device": weight.device, "dtype": self.model.dtype}
        up = both["B"].float() * scaling(path, rank, config)
        return Pair(both["A"].to(**kind).T.contiguous(), up.to(**kind).T.contiguous())


def read_config(folder: Path) -> dict[str, Any]:
    """``adapter_config.json`` of a LoRA that can be run here; says what is in the way of others."""
    config = read_json(folder / "adapter_config.json")
    if not config:
        raise ValidationException(
            f"The folder {folder} holds no adapter_config.json.", hint="give the folder of a LoRA"
        )
    if config.get("peft_type") != "LORA":
        raise UnsupportedError(f"The adapter in {folder} is a {config.get('peft_type')}; only LORA can be run.")
    if asked := [name for name in UNKNOWN if config.get(name)]:
        raise UnsupportedError(
            f"The adapter in {folder} uses {', '.join(asked)}, which this engine cannot run.",
            hint="merge it into its model and serve the merged model",
        )
    if not (folder / WEIGHTS).is_file():
        raise ValidationException(f"The folder {folder} holds no {WEIGHTS}.", hint="pickled adapters are not read")
    return config


def scaling(path: str, rank: int, config: Mapping[str, Any]) -> float:
    """``alpha_pattern`` has other alphas for the modules whose name ends in a pattern."""
    alpha = config.get("lora_alpha") or 8
    for pattern, other in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", path):
            alpha = other
            break
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)
