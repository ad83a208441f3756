"""Model YAML as people have it, and what is wrong with some of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.flavors import base_model, check_content
from catalog.references import Reference, is_hub_id, parse_reference
from catalog.schemas import AssetFileError, ModelSpec, load_model_file, model_spec
from catalog.sources import opened
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace import Workspace


def spec(text: str, folder: Path) -> ModelSpec:
    file = folder / "model.yml"
    file.write_text(text, encoding="utf-8")
    data, marks = load_model_file(file)
    return model_spec(data, folder, marks)


def test_the_yaml_of_az_ml_is_taken_as_it_is(tmp_path: Path) -> None:
    found = spec(
        """
$schema: https://azuremlschemas.azureedge.net/latest/model.schema.json
name: shop
version: 1.0
path: mlflow-model
type: mlflow_model
stage: Production
description: A model.
tags: {team: search, tries: 3, good: true, empty: null, more: {a: [1]}}
properties: {k: 1.5}
flavors: {sklearn: {sklearn_version: 1.5.0}}
datastore: azureml:workspaceblobstore
""",
        tmp_path,
    )
    assert found == ModelSpec(
        "shop", "mlflow-model", "1.0", "mlflow_model", "A model.", "Production",
        {"team": "search", "tries": "3", "good": "true", "empty": "", "more": '{"a": [1]}'}, {"k": "1.5"}, {"sklearn": {"sklearn_version": "1.5.0"}},
        folder=tmp_path,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "path", "type"),
    [
        ("path: a\ntype: Triton-Model", "a", "triton_model"),
        ("local_path: b", "b", "custom_model"),
        ("model_uri: runs:/r/model/\nmodel_format: mlflow", "runs:/r/model/", "mlflow_model"),
        ("path: file:./c\ntype: custom", "file:./c", "custom_model"),
    ],
)
def test_older_spellings(tmp_path: Path, text: str, path: str, type: str) -> None:
    found = spec(f"name: m\n{text}", tmp_path)
    assert (found.path, found.type) == (path, type)


def test_ours_are_aliases_card_and_lineage(tmp_path: Path) -> None:
    found = spec("{name: m, path: p, aliases: [a, b], card: c.md, run: r, data: d, parent: [x, y]}", tmp_path)
    assert (found.aliases, found.card, found.run, found.data, found.parent) == (
        ("a", "b"), "c.md", "r", ("d",), ("x", "y"),
    )  # fmt: skip


def test_everything_that_is_wrong_is_said_at_once_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(AssetFileError) as caught:
        spec(f"type: mlflw_model\nstage: {'x' * 65}\ntags: [a]\nverson: 2\nname: [m]\n", tmp_path)
    told = {problem.where: (problem.line, problem.message, problem.hint) for problem in caught.value.problems}
    assert told["type"][0] == 1 and "no type of models" in told["type"][1]
    assert told["stage"][2].startswith("such as None")
    assert told["tags"][0] == 3 and "mapping" in told["tags"][1]
    assert told["verson"] == (4, "A model has no 'verson'.", "did you mean version?")
    assert told["name"] == (5, "'name' is a text, not list.", "")
    assert told[""][1] == "A model needs 'path'."


@pytest.mark.parametrize("text", ["[a]", "just text"])
def test_what_is_no_mapping_is_no_model(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValidationException, match="mapping"):
        spec(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m", Reference("m")),
        ("m:3", Reference("m", "3")),
        ("m@champion", Reference("m", alias="champion")),
        ("azureml:m:1.0", Reference("m", "1.0")),
        ("azureml:m", Reference("m")),
        ("azureml:m@latest", Reference("m", alias="latest")),
        ("workspace/m", Reference("m")),
        ("workspace/m:2", Reference("m", "2")),
        ("models:/m/3", Reference("m", "3")),
        ("models:/m@prod", Reference("m", alias="prod")),
        ("azureml://registries/r/models/m/versions/4", Reference("m", "4", registry="r")),
        ("azureml://registries/r/models/m/labels/latest", Reference("m", alias="latest", registry="r")),
        ("azureml:/subscriptions/s/resourceGroups/g/providers/p/workspaces/w/models/m/versions/5", Reference("m", "5")),
        ("azureml://subscriptions/s/resourcegroups/g/workspaces/w/models/m/versions/5", Reference("m", "5")),
    ],
)
def test_references(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize("text", ["", "a/b", "m:1:2", "m@a@b", "m:", "@a", "azureml:", "runs:/a/b"])
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(ValidationException):
        parse_reference(text)


def test_ids_of_the_hub() -> None:
    assert is_hub_id("Qwen/Qwen3-0.6B")
    assert not any(map(is_hub_id, ["workspace/m", "builtin/x", "fake/echo", "gpt2", "/a/b", "./a", "a/b/c", "a/b:1"]))


def make_run(workspace: Workspace, name: str, folder: Path) -> None:
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "w.bin").write_bytes(b"weights")
    record = {"output_path": str(folder)}
    workspace.store.put(
        "runs", {"name": name, "kind": "batch", "status": "Completed", "created": "1", "record": record}
    )


@pytest.mark.parametrize(
    "text",
    [
        "runs:/r1/model",
        "runs:/r1/model/",
        "azureml://jobs/r1/outputs/artifacts/paths/model/",
        "azureml://jobs/r1/outputs/model",
    ],
)
def test_what_a_run_wrote(home: Path, tmp_path: Path, text: str) -> None:
    workspace = Workspace.open()
    make_run(workspace, "r1", tmp_path / "out")
    with opened(text, Path(), workspace) as source:
        assert (source.path / "w.bin").read_bytes() == b"weights"
        assert (source.run, source.origin) == ("r1", text)


def test_sources_that_cannot_be_read(home: Path, tmp_path: Path) -> None:
    workspace = Workspace.open()
    make_run(workspace, "r1", tmp_path / "out")
    (tmp_path / "secret").write_text("x")
    cases = {
        "runs:/r1/../secret": "leads out",
        "runs:/absent/model": "no run absent",
        "runs:/r1/absent": "no file or folder",
        "azureml://datastores/d/paths/p": "in Azure",
        "azureml:other:1": "in Azure",
        "wasbs://c@a.blob.core.windows.net/m/": "cannot be read",
        "http://127.0.0.1:9/model.pkl": "cannot be read",
    }
    for text, message in cases.items():
        with pytest.raises(UserErrorException, match=message), opened(text, Path(), workspace):
            pass


def test_a_url_is_copied_for_as_long_as_it_is_needed(home: Path, tmp_path: Path) -> None:
    import fsspec

    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/models/shop/w.bin", b"weights")
    workspace = Workspace.open()
    with opened("memory://models/shop", Path(), workspace) as source:
        assert source.path.name == "shop" and (source.path / "w.bin").read_bytes() == b"weights"
    with opened("memory://models/shop/w.bin", Path(), workspace) as source:
        assert source.path.name == "w.bin" and source.path.read_bytes() == b"weights"
    assert list(home.glob(".download-*")) == []


def test_types_are_held_to_what_they_say(tmp_path: Path) -> None:
    file, triton, empty = tmp_path / "m.pkl", tmp_path / "triton", tmp_path / "empty"
    file.write_bytes(b"x")
    (triton / "resnet" / "1").mkdir(parents=True)
    empty.mkdir()
    assert check_content("custom_model", file, {}) == {}
    assert check_content("triton_model", triton, {}) == {} == check_content("triton_model", triton / "resnet", {})
    for type, path in (
        ("mlflow_model", file),
        ("mlflow_model", empty),
        ("triton_model", file),
        ("triton_model", empty),
    ):
        with pytest.raises(ValidationException, match="is no"):
            check_content(type, path, {})
    (empty / "MLmodel").write_text("flavors: {pytorch: {v: 1}}")
    assert check_content("mlflow_model", empty, {}) == {"pytorch": {"v": 1}}
    assert check_content("mlflow_model", empty, {"a": {}}) == {"a": {}}
    (empty / "MLmodel").write_text("run_id: x")
    with pytest.raises(ValidationException, match="flavors"):
        check_content("mlflow_model", empty, {})


def test_what_an_adapter_says_of_its_base(tmp_path: Path) -> None:
    assert base_model(tmp_path) == ""
    config = tmp_path / "adapter_config.json"
    config.write_text('{"base_model_name_or_path": "Org/Base"}')
    assert base_model(tmp_path) == "Org/Base"
    config.write_text("[]")
    assert base_model(tmp_path) == ""
    config.write_text("{")
    with pytest.raises(ValidationException, match="cannot be read"):
        base_model(tmp_path)
