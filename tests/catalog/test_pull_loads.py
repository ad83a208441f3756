"""What was pulled loads in transformers by its name, with no hub to ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.hub import Hub
from catalog.local import LocalModels
from catalog.pull import Puller
from promptflow.workspace import Workspace
from tests import tiny_models
from tests.hub_server import Repo, serving

pytest.importorskip("huggingface_hub")
pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

LOAD = """
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = AutoModelForCausalLM.from_pretrained("acme/tiny"), AutoTokenizer.from_pretrained("acme/tiny")
print(model.generate(**tokenizer("hello", return_tensors="pt"), max_new_tokens=3, min_new_tokens=3).shape[1])
"""


def test_transformers_finds_a_pulled_model(tmp_path: Path, home: Path) -> None:
    folder = tiny_models.decoder(tmp_path / "model")
    files: dict[str, bytes | Path] = {path.name: path for path in folder.iterdir()}
    with serving({"acme/tiny": Repo(files)}) as server, Workspace.open(home) as workspace:
        puller = Puller(workspace, Hub(server.url, token=False), LocalModels(tmp_path / "hf" / "hub"))
        puller.pull(puller.plan("acme/tiny"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, timeout=110, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 3
