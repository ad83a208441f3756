"""What a server of any model says that it can be asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.registry import Registry
from catalog.schemas import ModelSpec
from promptflow.workspace import Workspace
from serve.engines.kinds import may_run
from serve.known import Known, known_models
from serve.offers import Offers
from tests.catalog.mirror_server import pulled
from tests.serve.test_offers import adapter_of, folder_of


@pytest.mark.parametrize(
    ("files", "runs"),
    [
        ({"config.json", "model.safetensors"}, True),
        ({"model.onnx"}, True),
        ({"onnx/model_q4.onnx", "config.json"}, True),
        ({"model.safetensors"}, False),
        ({"config.json", "pytorch_model.bin"}, False),
        ({"config.json", "sub/model.safetensors"}, False),
        ({"model.gguf"}, False),
        (set(), False),
    ],
)
def test_what_an_engine_finds_a_model_in(files: set[str], runs: bool) -> None:
    assert may_run(files) is runs


def test_all_that_is_here_and_runs(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    weights = {"config.json": b"{}", "model.safetensors": b"w"}
    pulled(tmp_path / "hub", "org/whole", weights)
    pulled(tmp_path / "hub", "org/pickles", {"config.json": b"{}", "pytorch_model.bin": b"w"})
    pulled(tmp_path / "hub", "org/lora", {"adapter_config.json": b'{"base_model_name_or_path": "org/whole"}'})
    registry = Registry(Workspace.open())
    old = registry.create(ModelSpec("gone", str(folder_of(tmp_path / "gone"))))
    for name in ("shop", "shop"):
        registry.create(ModelSpec(name, str(tmp_path / "gone")))
    registry.archive(old)
    registry.create(ModelSpec("formal", str(adapter_of(tmp_path / "formal", "shop"))))
    registry.create(ModelSpec("lost", str(adapter_of(tmp_path / "lost", "nowhere"))))
    registry.create(ModelSpec("table", str(Path(__file__))))
    known = known_models(Workspace.open())
    assert [one for one in known if not one.name.startswith("builtin/")] == [
        Known("formal", "shop"), Known("shop"), Known("org/lora", "org/whole"), Known("org/whole")
    ]  # fmt: skip
    assert len({one.name for one in known}) == len(known)
    offers = Offers(Workspace.open)
    assert all(offers.among_known(one.name) for one in known)
