"""`make demo`, in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from promptflow.workspace import Workspace

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


@pytest.mark.parametrize("encoding", ["utf-8", pytest.param("ascii", marks=pytest.mark.slow)])
def test_the_demo_compares_prompts_and_leaves_nothing_running(tmp_path: Path, encoding: str) -> None:
    pytest.importorskip("onnxruntime")
    home = tmp_path / "demo"
    variables = {"PF_DEMO_DIRECTORY": str(home), "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, DEMO], env={**os.environ, **variables}, capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    accuracy = re.search(r"^accuracy +(\d+\.\d)%[ █#]+(\d+\.\d)%", done.stdout, re.MULTILINE)
    assert accuracy, done.stdout
    assert float(accuracy[1]) < float(accuracy[2])
    assert (home / "compare.html").as_uri() in done.stdout
    assert "eval_short" in (home / "compare.html").read_text(encoding="utf-8")
    with Workspace.open(home) as workspace:
        assert not [process.name for process in workspace.processes.list() if process.is_running]
