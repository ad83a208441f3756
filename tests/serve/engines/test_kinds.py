"""The engine that a folder is opened with is the one that `pf catalog fit` tells."""

from __future__ import annotations

from pathlib import Path

import pytest

import serve.engines
from catalog.facts import facts_of_folder
from catalog.fit import Fit, predict
from catalog.machine import Gpu, Machine
from promptflow.exceptions import ValidationException
from serve.engines.kinds import kind_of
from tests.tiny_models import decoder

MACHINE = Machine(64 << 30, 64 << 30, 8)
GPU = Machine(64 << 30, 64 << 30, 8, (Gpu("a GPU", 24 << 30, 24 << 30, (9, 0)),))


def told(folder: Path, machine: Machine = MACHINE) -> Fit:
    facts = facts_of_folder(folder)
    return predict(facts.config, facts.weights, machine, onnx=facts.onnx, onnx_first=facts.onnx_first)


@pytest.mark.parametrize(
    ("exports", "weights", "engine"),
    [
        ((), True, "transformers"),
        (("model.onnx",), True, "onnx"),
        (("strange.onnx",), True, "onnx"),
        (("onnx/model.onnx",), True, "transformers"),
        (("model.onnx",), False, "onnx"),
        (("onnx/model_quantized.onnx",), False, "onnx"),
    ],
)
def test_fit_tells_the_engine_that_opens_the_folder(
    tmp_path: Path, exports: tuple[str, ...], weights: bool, engine: str
) -> None:
    pytest.importorskip("torch")
    folder = decoder(tmp_path / "model")
    for name in exports:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(bytes(1000))
    if not weights:
        (folder / "model.safetensors").unlink()
    assert kind_of(folder, lambda: False) == engine == told(folder).best.engine
    assert told(folder).fits is True
    assert told(folder, GPU).best.engine == kind_of(folder, lambda: True) == engine.replace("transformers", "vllm")
    assert weights or {plan.engine for plan in told(folder).plans} == {"onnx"}


def test_the_built_in_model() -> None:
    folder = Path(serve.engines.__file__).parent / "builtin" / "intent-mini"
    assert kind_of(folder, lambda: False) == told(folder).best.engine == "onnx"


def test_a_model_without_weights_is_opened_by_nothing(tmp_path: Path) -> None:
    folder = decoder(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValidationException, match="holds no model"):
        kind_of(folder, lambda: False)
    for machine in (MACHINE, GPU):
        fit = told(folder, machine)
        assert fit.best.fits is False and fit.best.why == "it has no weights"
