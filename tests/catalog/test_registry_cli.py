"""`pf model`, as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from catalog.registry import Registry
from promptflow.cli.main import main
from promptflow.workspace import Workspace
from tests.catalog.test_registry_runs import end_run

YAML = """$schema: https://azuremlschemas.azureedge.net/latest/model.schema.json
name: shop
path: mlflow-model
type: mlflow_model
description: Made from a local folder.
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mlflow-model").mkdir()
    (tmp_path / "mlflow-model" / "MLmodel").write_text("flavors: {sklearn: {version: 1.5.0}}")
    (tmp_path / "mlflow-model" / "README.md").write_text("# Shop\n")
    (tmp_path / "model.yml").write_text(YAML)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pf(project: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert main(["model", *words]) == code, capsys.readouterr().err
        out, err = capsys.readouterr()
        return err if code else json.loads(out) if out[:1] in ("{", "[") else out

    return run


def test_the_yaml_of_a_public_sample(pf: Any, project: Path) -> None:
    made = pf("create", "-f", "model.yml", "--set", "tags.team=search", "version=7", "--alias", "champion")
    assert (made["name"], made["version"], made["type"], made["path"]) == ("shop", "7", "mlflow_model", "mlflow-model")
    assert (made["tags"], made["aliases"]) == ({"team": "search"}, ["champion"])
    assert made["flavors"] == {"sklearn": {"version": "1.5.0"}} and made["id"] == "azureml:shop:7"
    assert made["source"] == str(project / "mlflow-model")
    shown = pf("show", "-n", "shop", "-v", "7", "--files")
    assert shown["digest"] == made["digest"] and [file["path"] for file in shown["files"]] == ["MLmodel", "README.md"]
    assert pf("show", "-n", "shop", "--label", "champion")["version"] == "7"
    assert pf("show", "-n", "shop", "--card") == "# Shop\n"
    down = pf("download", "--name", "shop", "--version", "7", "--download-path", "out")
    assert down["path"] == "out/shop/mlflow-model"
    assert (project / "out/shop/mlflow-model/MLmodel").read_bytes() == (project / "mlflow-model/MLmodel").read_bytes()


def test_flags_go_over_the_file_and_do_without_one(pf: Any, project: Path) -> None:
    made = pf(
        "create", "-f", "model.yml", "--name", "other", "--version", "3", "--type", "custom_model", "--description", "x"
    )
    assert (made["name"], made["version"], made["type"], made["description"]) == ("other", "3", "custom_model", "x")
    end_run(Workspace.open(), "r1", {})
    (project / "sub").mkdir()
    (project / "sub" / "model.yml").write_text("name: m\npath: absent\ntags: {a: b}")
    made = pf(
        "create", "-f", "sub/model.yml", "-p", "mlflow-model", "--tags", "c=d", "e=f", "--run", "r1", "--parent", "other:3",
        "--data", "rows:1", "--card", "model.yml",
    )  # fmt: skip
    assert made["tags"] == {"a": "b", "c": "d", "e": "f"}
    assert "There is no run nope" in pf("create", "-n", "x", "-p", "mlflow-model", "--run", "nope", code=1)
    lineage = {(edge["relation"], edge["source"]) for edge in pf("show", "-n", "m")["lineage"]}
    assert lineage == {("run", "run:r1"), ("parent", "model:other:3"), ("data", "data:rows:1")}
    assert pf("show", "-n", "m", "--card") == YAML
    below = pf("show", "-n", "other", "--lineage")["made_of_it"]
    assert [edge["made"] for edge in below] == ["model:m:1"]


def test_lists(pf: Any) -> None:
    for stage in ("Development", "Production", "None"):
        pf("create", "-f", "model.yml", "--stage", stage, "--tags", f"s={stage}")
    pf("create", "-f", "model.yml", "-n", "other")
    assert [(row["name"], row["version"]) for row in pf("list")] == [("other", "1"), ("shop", "3")]
    assert [row["version"] for row in pf("list", "-n", "shop")] == ["3", "2", "1"]
    assert [row["version"] for row in pf("list", "-n", "shop", "--stage", "production")] == ["2"]
    assert [row["version"] for row in pf("list", "-n", "shop", "--tag", "s=Development")] == ["1"]
    assert [row["version"] for row in pf("list", "-n", "shop", "-r", "1", "-o", "json")] == ["3"]
    assert pf("list", "-o", "quiet") == "other\nshop\n"
    table = pf("list", "-n", "shop", "-o", "tsv").splitlines()
    assert table[0].startswith("name\tversion\ttype\tstage\taliases\tsize") and "s=Production" in table[2]
    assert pf("list", "-n", "absent") == []


def test_update_changes_what_may_change(pf: Any) -> None:
    pf("create", "-f", "model.yml", "--tags", "a=1", "b=2")
    updated = pf(
        "update", "-n", "shop", "-v", "1", "--set", "description=better", "tags.c=3", "--stage", "staging",
        "--remove", "tags.a", "--properties", "p=q", "--alias", "champion",
    )  # fmt: skip
    assert (updated["tags"], updated["stage"], updated["aliases"]) == ({"b": "2", "c": "3"}, "Staging", ["champion"])
    assert (updated["description"], updated["properties"]) == ("better", {"p": "q"})
    assert pf("update", "-n", "shop@champion", "--remove-alias", "champion", "--remove", "stage")["aliases"] == []
    assert "no 'path' here" in pf("update", "-n", "shop", "--set", "path=x", code=2)
    assert "no such thing" in pf("update", "-n", "shop", "--remove", "tags.zz", code=2)
    assert "no such alias" in pf("update", "-n", "shop", "--remove-alias", "champion", code=2)


def test_archive_restore_delete(pf: Any) -> None:
    pf("create", "-f", "model.yml")
    pf("create", "-f", "model.yml", "--tags", "x=y")
    assert pf("archive", "-n", "shop", "-v", "2")["archived"] is True
    assert [row["version"] for row in pf("list", "-n", "shop")] == ["1"]
    assert pf("restore", "-n", "shop:2")["archived"] is False
    pf("archive", "-n", "shop")
    assert pf("list") == [] and [row["name"] for row in pf("list", "--archived-only")] == ["shop"]
    pf("restore", "-n", "shop")
    assert "several versions" in pf("delete", "-n", "shop", "-y", code=2)
    assert "-y" in pf("delete", "-n", "shop", "-v", "2", code=2)
    Registry(Workspace.open()).uses.add("model:shop:2", "endpoint:e/blue")
    assert "is used by endpoint:e/blue" in pf("delete", "-n", "shop", "-v", "2", "-y", code=1)
    assert pf("show", "-n", "shop", "-v", "2")["used_by"] == ["endpoint:e/blue"]
    pf("delete", "-n", "shop", "-v", "1", "-y")
    assert [row["version"] for row in pf("list", "-n", "shop")] == ["2"]
    assert "no version 1" in pf("show", "-n", "shop", "-v", "1", code=1)


def test_share_to_another_workspace(pf: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pf("create", "-f", "model.yml")
    (project / "team").mkdir()
    shared = pf("share", "-n", "shop", "-v", "1", "--registry-name", "team", "--share-with-name", "ours")
    assert (shared["name"], shared["version"], shared["digest"]) == ("ours", "1", made["digest"])
    assert main(["config", "set", f"registries.ours={project / 'team'}"]) == 0
    assert pf("share", "-n", "shop", "--to", "ours")["digest"] == made["digest"]
    monkeypatch.setenv("PF_HOME_DIRECTORY", str(project / "team"))
    assert pf("show", "-n", "ours")["digest"] == made["digest"]
    assert "no registry called x" in pf("share", "-n", "ours", "--to", "x", code=1)
    assert "no folder ./absent" in pf("share", "-n", "ours", "--to", "./absent", code=1)


def test_errors_say_where(pf: Any, project: Path) -> None:
    (project / "bad.yml").write_text("name: m\npth: x\n")
    told = pf("create", "-f", "bad.yml", code=1)
    assert "bad.yml:2:1" in told and "did you mean path?" in told and "needs 'path'" in told
    assert "there is no 'verson' here" in pf("create", "-f", "model.yml", "--set", "verson=1", code=2)
    assert "at --set type\n" in pf("create", "-f", "model.yml", "--set", "type=none", code=1)
    assert "named twice" in pf("show", "-n", "shop:1", "-v", "1", code=2)
    assert "no model called shop" in pf("show", "-n", "shop", code=1)


@pytest.mark.parametrize("words", [["list"], ["list", "-n", "shop"], ["show", "-n", "shop"]], ids=" ".join)
def test_looking_imports_nothing_heavy(pf: Any, words: list[str]) -> None:
    pf("create", "-f", "model.yml")
    heavy = ("sqlalchemy", "fsspec", "huggingface_hub", "torch", "transformers", "rich", "asyncio", "fastapi", "yaml")
    code = (
        "import json, sys; from promptflow.cli.main import main; main(sys.argv[1:]); "
        f"print('PROBE', [name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, "model", *words], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "PROBE []"
    json.loads(done.stdout)
