"""The YAML of batch endpoints and deployments, in the forms that it has had, and the store."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catalog.registry import Registry
from catalog.schemas import AssetFileError, model_spec
from catalog.uses import Uses
from promptflow.cli.errors import three_lines
from promptflow.exceptions import UserErrorException
from promptflow.workspace.yamlfile import dump_yaml, load_yaml, load_yaml_text
from serve.batch.deployment_file import (
    BatchDeploymentFile,
    batch_document,
    read_batch_deployment,
    read_settings,
    settings_document,
)
from serve.batch.endpoint_file import endpoint_document, read_batch_endpoint
from serve.batch.records import BatchEndpoint, Settings
from serve.batch.resolve import resolve_batch
from serve.batch.store import BatchStore
from serve.endpoints.errors import EndpointConflictError, EndpointNotFoundError
from tests.serve.batch.conftest import Deploy

NEW = """\
$schema: https://azuremlschemas.azureedge.net/latest/batchDeployment.schema.json
name: torch-dpl
endpoint_name: sums
type: model
model: {name: factor, path: model}
code_configuration: {code: code, scoring_script: driver.py}
environment:
  name: mine
  image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:latest
  conda_file: {name: x, dependencies: [python=3.12, pip, {pip: []}]}
environment_variables: {A: "1"}
compute: azureml:batch-cluster
resources: {instance_count: 2, instance_type: Standard_DS3_v2}
settings:
  max_concurrency_per_instance: 4
  mini_batch_size: 20
  output_action: summary_only
  output_file_name: out.csv
  retry_settings: {max_retries: 1, timeout: 300}
  error_threshold: 10
  logging_level: debug
  environment_variables: {B: "2"}
"""
OLD = """\
$schema: https://azuremlschemas.azureedge.net/latest/batchEndpoint.schema.json
name: torch-dpl
endpoint_name: sums
model:
  local_path: ./model/
code_configuration:
  code:
    local_path: ./code/
  scoring_script: driver.py
environment_variables: {A: "1", B: "2"}
mini_batch_size: 20
output_file_name: out.csv
output_action: summary_only
retry_settings:
  max_retries: 1
  timeout: 300
error_threshold: 10
logging_level: debug
compute: azureml:cpu-cluster
resources:
  instance_count: 1
max_concurrency_per_instance: 4
"""


def deployment(text: str, folder: Path) -> BatchDeploymentFile:
    file = folder / "deployment.yml"
    file.write_text(text)
    data, marks = load_yaml(file)
    return read_batch_deployment(data, folder, marks)


@pytest.mark.parametrize("text", [NEW, OLD], ids=["new", "old"])
def test_both_forms_say_the_same(project: Path, store: BatchStore, text: str) -> None:
    file = deployment(text, project)
    assert file.warnings == ()
    assert file.settings == Settings(20, 0, 4, "summary_only", "out.csv", 10, 1, 300.0, "debug")
    kept = store.put(resolve_batch(file, store.workspace))
    assert kept.spec.variables == {"A": "1", "B": "2"}
    assert kept.spec.model_path is not None
    assert (kept.spec.model_path / "factor.txt").read_text() == "3"
    assert kept.recorded["compute"].startswith("azureml:")


def test_what_is_missing_is_as_azure_has_it(project: Path) -> None:
    file = deployment("name: d\nendpoint_name: sums\nmodel: {path: model}\n", project)
    assert file.settings == Settings(10, 0, 1, "append_row", "predictions.csv", -1, 3, 30.0, "info")


def test_what_is_shown_is_read_again(project: Path, store: BatchStore) -> None:
    kept = store.put(resolve_batch(deployment(NEW, project), store.workspace))
    shown, marks = load_yaml_text(dump_yaml(batch_document(kept)))
    again = store.put(resolve_batch(read_batch_deployment(shown, Path("/"), marks), store.workspace, kept))
    assert again == replace(kept, revision=2, updated=again.updated)
    assert batch_document(store.deployment("sums", "torch-dpl")) == shown
    endpoint = replace(store.get("sums"), description="d", tags={"a": "b"}, default="torch-dpl")
    assert read_batch_endpoint(endpoint_document(endpoint)).over(store.get("sums")) == endpoint


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("type: pipeline\n", "deployment.yml:8:1 type"),
        ("settings: {mini_batch_size: 0}\n", "'mini_batch_size' is 0"),
        ("settings: {mini_batch_size: 10 files}\n", "'mini_batch_size' is '10 files'"),
        ("settings: {output_action: append}\n", "'output_action' is 'append'"),
        ("settings: {output_file_name: ../x.csv}\n", "without a folder"),
        ("settings: {error_threshold: -2}\n", "at least -1"),
        ("settings: {retry_settings: {timeout: 0}}\n", "'timeout' is 0"),
        ("settings: {logging_level: loud}\n", "'logging_level' is 'loud'"),
        ("settings: []\n", "'settings' is a mapping"),
        ("max_concurrency_per_instance: none\n", "'max_concurrency_per_instance' is 'none'"),
        ("code_configuration: {code: gone, scoring_script: a.py}\n", "There is no file or folder"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(project: Path, text: str, told: str) -> None:
    names = "\n\n\n\nname: d\nendpoint_name: sums\nmodel: {path: model}\n"
    with pytest.raises(AssetFileError) as caught:
        deployment(names + text, project)
    assert told in three_lines(caught.value)


def test_all_that_is_wrong_is_told_at_once(project: Path) -> None:
    with pytest.raises(AssetFileError) as caught:
        deployment(
            "name: 1d\nendpoint_name: sums\nmodel: {path: gone}\nmini_batch_size: x\nerror_threshold: y\n", project
        )
    assert len(caught.value.problems) == 4


def test_what_nobody_knows_is_warned_of(project: Path) -> None:
    file = deployment(
        "name: d\nendpoint_name: sums\nmodel: {path: model}\nsettings: {mini_batchsize: 3}\ncomputes: x\n", project
    )
    assert [warning.partition(": ")[2] for warning in file.warnings] == [
        "'settings' has no 'mini_batchsize' (did you mean mini_batch_size?); it is read over",
        "A batch deployment has no 'computes' (did you mean compute?); it is read over",
    ]


def test_sizes_in_bytes_are_for_tables() -> None:
    settings = read_settings({"mini_batch_size": "10kb"})
    assert settings.mini_batch_bytes == 10_000
    assert read_settings(settings_document(settings)) == settings
    with pytest.raises(AssetFileError, match="has no 'mini_batches'"):
        read_settings({"mini_batches": 3})


def test_a_language_model_alone_is_refused(project: Path, store: BatchStore) -> None:
    (project / "model" / "config.json").write_text("{}")
    file = deployment("name: d\nendpoint_name: sums\nmodel: {path: model}\n", project)
    with pytest.raises(UserErrorException, match="goes through no files"):
        resolve_batch(file, store.workspace)


def test_endpoints(store: BatchStore, deploy: Deploy) -> None:
    with pytest.raises(EndpointConflictError, match="already"):
        store.create(BatchEndpoint("sums"))
    with pytest.raises(EndpointNotFoundError, match="no batch endpoint 'sum'") as caught:
        store.get("sum")
    assert "did you mean sums" in str(caught.value.hint)
    with pytest.raises(EndpointConflictError, match="no default deployment"):
        store.default("sums")
    deploy()
    assert store.default("sums").name == "driver"
    deploy(name="other")
    assert store.default("sums").name == "driver"
    with pytest.raises(EndpointConflictError, match="default deployment"):
        store.delete_deployment("sums", "driver")
    with pytest.raises(EndpointNotFoundError, match="no deployment 'none'"):
        store.update(replace(store.get("sums"), default="none"))
    store.update(replace(store.get("sums"), default="other"))
    store.delete_deployment("sums", "driver")
    store.delete_deployment("sums", "other")
    assert store.get("sums").default == ""
    store.delete("sums")
    assert store.list() == []


def test_of_two_updates_at_once_one_is_told(store: BatchStore) -> None:
    read, told = store.get("sums"), []

    def update(text: str) -> None:
        try:
            store.update(replace(read, description=text))
        except EndpointConflictError as error:
            told.append(error.message)

    threads = [threading.Thread(target=update, args=(text,)) for text in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("sums").revision == 2
    assert len(told) == 3


def test_what_a_deployment_is_made_of_is_held(store: BatchStore, project: Path, deploy: Deploy) -> None:
    registry = Registry(store.workspace)
    assets = [registry.create(model_spec({"name": "factor", "path": "model"}, project))]
    (project / "model" / "factor.txt").write_text("4")
    assets.append(registry.create(model_spec({"name": "factor", "path": "model"}, project)))
    uses = Uses(store.workspace)
    first = deploy(model="azureml:factor:1")
    assert uses.of(assets[0].id) == ["batch:sums/driver"]
    store.put(replace(first, spec=replace(first.spec, assets=(assets[1].id,))))
    assert [uses.of(asset.id) for asset in assets] == [[], ["batch:sums/driver"]]
    store.delete("sums")
    assert [uses.of(asset.id) for asset in assets] == [[], []]


def test_a_workspace_that_was_moved(store: BatchStore, deploy: Deploy, home: Path) -> None:
    from promptflow.workspace import Workspace

    code: Any = deploy().spec.code
    moved = home.with_name("moved")
    store.workspace.close()
    home.rename(moved)
    found = BatchStore(Workspace.open(moved, "")).deployment("sums", "driver")
    assert found.spec.code == moved / code.relative_to(home)
    moved.rename(home)
