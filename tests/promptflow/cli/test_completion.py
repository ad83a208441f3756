from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.promptflow.cli.conftest import Pf


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_every_shell(pf: Pf, shell: str) -> None:
    code, out, err = pf("completion", shell)
    assert code == 0
    assert "pf completion words" in out
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=out, text=True, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["fl"], ["flow"]),
        (["flow", "va"], ["validate"]),
        (["run", "show", "--na"], ["--name"]),
        (["run", "list", "-o", ""], ["json", "jsonl", "quiet", "table", "tsv", "yaml"]),
        (["flow", "init", "--type", "s"], ["standard"]),
        (["flow", "test", "--flow", "f", "--node", ""], ["a"]),
        (["flow", "test", "--flow", "f", "--inputs", ""], ["x="]),
        (["config", "set", "trace"], ["trace.destination="]),
        (["nothing", ""], []),
        (["flow", "nothing", ""], []),
    ],
)
def test_what_can_come_next(pf: Pf, project: Path, words: list[str], found: list[str]) -> None:
    assert pf("completion", "words", "--", *words)[1].split() == found


def test_names_come_from_the_workspace(pf: Pf, project: Path) -> None:
    (project / "c.yaml").write_text("name: mine\ntype: custom\nsecrets: {a: b}\n", encoding="utf-8")
    pf("connection", "create", "-f", "c.yaml")
    pf("run", "create", "--flow", "f", "--data", "good.jsonl", "--name", "r")
    assert pf("completion", "words", "--", "run", "show", "-n", "")[1].split() == ["@latest", "r"]
    assert pf("completion", "words", "--", "connection", "show", "--name", "m")[1].split() == ["mine"]


def test_variants_come_from_the_flow(pf: Pf, project: Path) -> None:
    flow = (project / "f" / "flow.dag.yaml").read_text()
    variants = """node_variants:
  a:
    default_variant_id: v0
    variants:
      v0: {node: {type: python, source: {type: code, path: a.py}, inputs: {x: '${inputs.x}'}}}
      v1: {node: {type: python, source: {type: code, path: a.py}, inputs: {x: 'one'}}}
"""
    head, nodes = flow.split("nodes:")
    (project / "f" / "flow.dag.yaml").write_text(f"{head}nodes:\n- name: a\n  use_variants: true\n{variants}", "utf-8")
    words = ["run", "create", "--flow", "f", "--variant", ""]
    assert pf("completion", "words", "--", *words)[1].split() == ["${a.v0}", "${a.v1}"]
