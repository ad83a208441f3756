"""Moments at which a kill leaves little, or half of something: made by hand, since random kills seldom meet them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from promptflow.client import PFClient
from promptflow.entities import Run
from promptflow.storage.runs import RunStore
from tests.promptflow import flowkit

ECHO = """
inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: "${echo.output}"}
nodes:
- {name: echo, type: python, source: {type: code, path: echo.py}, inputs: {x: "${inputs.x}"}}
"""


@pytest.fixture
def client() -> PFClient:
    return PFClient()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps({"x": str(n)}) + "\n" for n in range(5)), encoding="utf-8")
    return file


def killed(client: PFClient, run: Run) -> None:
    """Make of a run one that goes on in no process any more."""
    store = RunStore(client.workspace)
    store.save(replace(store.get(run.name), status="Running", end_time=None))


@pytest.mark.parametrize("left", [(), ("logs.txt",), ("logs.txt", "flow_outputs", "flow_artifacts", "snapshot")])
def test_a_run_that_was_killed_before_its_journal_began_goes_on(
    client: PFClient, data: Path, tmp_path: Path, left: tuple[str, ...]
) -> None:
    flow = flowkit.dag(tmp_path / "flow", ECHO)
    run = client.run(flow=flow, data=data, name="r")
    outputs = (run.folder.path / "outputs.jsonl").read_bytes()
    killed(client, run)
    for path in run.folder.path.iterdir():
        if path.name not in left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for record in (run.folder.path / "flow_artifacts").glob("*.jsonl"):
        record.unlink()
    assert client.runs.resume("r").status == "Completed"
    assert (run.folder.path / "outputs.jsonl").read_bytes() == outputs


def test_half_an_image_is_none(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from promptflow.contracts.multimedia import Image
from promptflow.storage.encode import image_files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
image_files(Path(sys.argv[1]), "basic", absolute=True)(Image(b"x" * 5000, mime_type="image/png"))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert not list(tmp_path.glob("[!.]*"))
