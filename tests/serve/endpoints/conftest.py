"""Code, models and YAML of deployments, as people have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptflow.workspace import Workspace
from serve.endpoints.store import EndpointStore

SCORE = """
import json
import os


def init():
    global factor
    folder = os.environ.get("AZUREML_MODEL_DIR", "")
    factor = float(open(os.path.join(folder, "model", "factor.txt")).read()) if folder else 2.0


def run(raw_data):
    return [factor * value for value in json.loads(raw_data)["data"]]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """``src/score.py``, ``model/factor.txt``, ``conda.yml``, and a request."""
    folder = tmp_path / "project"
    for name, text in {
        "src/score.py": SCORE,
        "model/factor.txt": "3",
        "conda.yml": "name: any\nchannels: [conda-forge]\ndependencies:\n  - python=3.12\n  - numpy\n",
        "request.json": '{"data": [1, 2]}',
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def opened(home: Path) -> Workspace:
    return Workspace.open(home, "")


@pytest.fixture
def store(opened: Workspace) -> EndpointStore:
    return EndpointStore(opened)
