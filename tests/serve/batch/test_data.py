"""Data that a job's input names: what was uploaded or collected, by name and version."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.aliases import Aliases
from catalog.assets import LOCK, Asset, AssetNotFoundError, Assets
from catalog.contents import Contents
from catalog.uses import Uses
from promptflow.exceptions import PathNotFoundError, ValidationException
from promptflow.workspace import Workspace
from serve.batch.data import find_data
from serve.batch.inputs import Input, files_of, resolve_input
from serve.batch.jobs import JobStore
from serve.batch.submit import Request, record_job
from serve.batch.work import work
from tests.serve.batch.conftest import FILES, Deploy, predictions
from tests.serve.batch.test_cli import Pf, deployed, pf

__all__ = ["deployed", "pf"]


@pytest.fixture
def uploaded(opened: Workspace, project: Path) -> Assets:
    """``heart:1``, as the workspace's hub keeps what is uploaded, with an alias."""
    contents, assets = Contents(opened), Assets(opened, "data")
    blob = contents.put(project / "data")
    with opened.db.write(lock=LOCK):
        contents.claim(blob)
        made = Asset("data", "heart", "", "uri_folder", blob.digest, blob.kind, blob.size, "heart")
        Aliases(assets).set(assets.add(made), "good")
    return assets


@pytest.mark.parametrize(
    "text",
    [
        "azureml:heart:1",
        "azureml:heart@latest",
        "azureml:heart@good",
        "azureml:heart",
        "azureml://registries/any/data/heart/versions/1",
        "azureml:/subscriptions/s/resourceGroups/g/providers/p/workspaces/w/data/heart/versions/1",
        "azureml://subscriptions/s/resourcegroups/g/workspaces/w/data/heart/labels/latest",
    ],
)
def test_names_of_what_was_uploaded(uploaded: Assets, text: str) -> None:
    found = resolve_input(text, workspace=uploaded.workspace)
    assert (found.type, found.asset) == ("uri_folder", "data:heart:1")
    assert [Path(file).name for file in files_of(found)] == [f"part-{at}.csv" for at in range(FILES)]
    assert Input.from_json(found.to_json()) == found


def test_data_that_is_not_there_names_what_is(uploaded: Assets) -> None:
    with pytest.raises(AssetNotFoundError, match="no data called elsewhere") as caught:
        find_data("azureml:elsewhere:1", uploaded.workspace)
    assert caught.value.hint == "there is heart"


def test_a_job_holds_its_data_until_it_ends(uploaded: Assets, deploy: Deploy) -> None:
    deployment, workspace = deploy(), uploaded.workspace
    given = resolve_input("azureml:heart:1", workspace=workspace)
    job = record_job(workspace, deployment, Request(given, deployment.settings))
    assert Uses(workspace).of("data:heart:1") == [job.id]
    work(workspace, job.name)
    assert predictions(JobStore(workspace).get(job.name)).count("\n") == FILES
    assert Uses(workspace).of("data:heart:1") == []


def test_what_an_endpoint_collected_is_read_where_it_is(opened: Workspace, project: Path) -> None:
    kept = Asset("data", "shop-blue-inputs", "1", "uri_folder", "", "place", 0, str(project / "data"))
    with opened.db.write(lock=LOCK):
        Assets(opened, "data").add(kept)
    assert find_data("azureml:shop-blue-inputs:1", opened).path == project / "data"
    (project / "data").rename(project / "gone")
    with pytest.raises(PathNotFoundError, match="which is not there any more"):
        find_data("azureml:shop-blue-inputs:1", opened)


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("azureml:hart:1", AssetNotFoundError, "azureml:hart:1: "),
        ("azureml:heart:2", AssetNotFoundError, "azureml:heart:2: "),
        ("azureml:heart@best", AssetNotFoundError, "no alias best"),
        ("azureml://datastores/workspaceblobstore/paths/x", ValidationException, "is a place in Azure"),
        ("azureml://subscriptions/s/workspaces/w/datastores/d/paths/p", ValidationException, "is a place in Azure"),
        ("azureml:heart:1:2", ValidationException, "names no data"),
    ],
)
def test_what_names_no_data(uploaded: Assets, text: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        find_data(text, uploaded.workspace)


def test_the_ways_to_name_it_on_the_command_line(deployed: Pf, uploaded: Assets, project: Path) -> None:
    ways = (
        ["--input", "azureml:heart@latest"],
        ["--inputs", "heart=azureml:heart:1"],
        ["--inputs", "heart.type=uri_folder", "heart.path=azureml:heart:1"],
        ["--set", "inputs.heart.path=data"],
    )
    for at, way in enumerate(ways):
        words = [*way, "--outputs", f"score.path={project}/out-{at}", "--stream"]
        code, _, error = deployed("batch-endpoint", "invoke", "-n", "sums", *words)
        assert code == 0, error
        assert (project / f"out-{at}" / "predictions.csv").read_text().count("\n") == FILES
    code, _, error = deployed("batch-endpoint", "invoke", "-n", "sums", "--input", "data", "--outputs", "other=x")
    assert (code, "a job has one output, score" in error) == (2, True)
