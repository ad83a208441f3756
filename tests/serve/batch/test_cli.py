"""`pf batch-endpoint`, `pf batch-deployment` and `pf job` as scripts for `az ml` call them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from promptflow.cli.main import main
from promptflow.workspace import Workspace
from serve.batch.asked import read_request
from serve.batch.store import BatchStore
from serve.batch.submit import record_job
from serve.batch.work import work
from tests.serve.batch.conftest import FILES

Pf = Callable[..., tuple[int, str, str]]
ENDPOINT = "$schema: https://x/batchEndpoint.schema.json\nname: sums\ndescription: Sums\n"
DEPLOYMENT = """\
$schema: https://azuremlschemas.azureedge.net/latest/batchDeployment.schema.json
name: driver
endpoint_name: sums
type: model
model: {path: model}
code_configuration: {code: code, scoring_script: driver.py}
compute: azureml:batch-cluster
resources: {instance_count: 1}
settings: {mini_batch_size: 3, max_concurrency_per_instance: 2}
"""


@pytest.fixture
def pf(project: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Pf:
    """Run one command line in the project: (exit code, stdout, stderr)."""
    monkeypatch.chdir(project)
    (project / "endpoint.yml").write_text(ENDPOINT)
    (project / "deployment.yml").write_text(DEPLOYMENT)

    def call(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([*words])
        return (code, *capfd.readouterr())

    return call


@pytest.fixture
def deployed(pf: Pf) -> Pf:
    assert pf("batch-endpoint", "create", "-f", "endpoint.yml")[0] == 0
    assert pf("batch-deployment", "create", "-f", "deployment.yml", "--set-default", "-g", "group")[0] == 0
    return pf


def test_from_the_yaml_to_the_predictions(deployed: Pf, project: Path) -> None:
    pf = deployed
    code, name, _ = pf("batch-endpoint", "invoke", "-n", "sums", "--input", "data", "--query", "name", "-o", "tsv")
    name = name.strip()
    assert (code, len(name.split("_"))) == (0, 3)
    code, text, _ = pf("job", "stream", "-n", name)
    assert code == 0
    assert text.splitlines()[-1].endswith(f"job {name}: Completed")
    assert pf("job", "show", "-n", name, "--query", "status", "-o", "tsv")[1] == "Completed\n"
    assert pf("job", "download", "-n", name, "--output-name", "score", "--download-path", "out")[0] == 0
    assert (project / "out/named-outputs/score/predictions.csv").read_text().count("\n") == FILES
    assert pf("job", "download", "-n", name, "--all", "-p", "all")[0] == 0
    assert (project / "all/artifacts/logs/job.log").is_file()
    jobs = json.loads(pf("batch-deployment", "list-jobs", "-n", "driver", "-e", "sums", "-o", "json")[1])
    assert [job["name"] for job in jobs] == [name]
    words = ("batch-deployment", "list-jobs", "--name", "driver", "--endpoint-name", "sums", "--query", "[].name")
    assert json.loads(pf(*words, "-o", "json")[1]) == [name]
    assert name in pf("batch-endpoint", "list-jobs", "-n", "sums")[1]
    assert pf("job", "archive", "-n", name)[0] == 0
    assert name not in pf("job", "list")[1]
    assert name in pf("job", "list", "--archived-only")[1]
    assert pf("job", "restore", "-n", name)[0] == 0
    assert name in pf("job", "list")[1]


def test_of_an_output_that_is_a_file_only_that_is_downloaded(deployed: Pf, project: Path) -> None:
    (project / "scores").mkdir()
    (project / "scores/of_another_job.csv").write_text("1\n")
    output = {"score": {"JobOutputType": "UriFile", "Uri": f"{project}/scores/mine.csv"}}
    data = {"files": {"JobInputType": "UriFolder", "Uri": f"{project}/data"}}
    with Workspace.open() as workspace:
        deployment = BatchStore(workspace).deployment("sums", "driver")
        request = read_request({"InputData": data, "OutputData": output}, deployment, workspace)
        name = record_job(workspace, deployment, request).name
        work(workspace, name)
    assert deployed("job", "download", "-n", name, "--output-name", "score", "-p", "out")[0] == 0
    assert [file.name for file in (project / "out/named-outputs/score").iterdir()] == ["mine.csv"]


def test_what_a_job_may_have_otherwise(deployed: Pf, project: Path) -> None:
    (project / "inputs.yml").write_text("inputs:\n  heart: {type: uri_folder, path: data}\n")
    words = ["--set", "output_file_name=mine.csv", "settings.error_threshold=5", "--mini-batch-size", "7"]
    words += ["--output-path", "there", "--job-name", "my-job", "--instance-count", "5", "--stream"]
    code, text, error = deployed("batch-endpoint", "invoke", "-n", "sums", "-f", "inputs.yml", *words)
    assert code == 0, error
    assert "1 mini-batches of 7 items" in error
    assert json.loads(text)["status"] == "Completed"  # the log is not in it
    assert (project / "there/mine.csv").read_text().count("\n") == FILES
    code, _, error = deployed("batch-endpoint", "invoke", "-n", "sums", "--input", "data", "--job-name", "my-job")
    assert (code, "There is a job 'my-job' already" in error) == (1, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--input", "nothing"], "There is no file or folder"),
        ([], "goes through one input, and there is none"),
        (["--input", "data", "--deployment-name", "drivers"], "did you mean driver?"),
        (["--input", "data", "--inputs", "a=b"], "only a flow has inputs"),
        (["--input", "data", "--mini-batch-size", "none"], "'mini_batch_size' is 'none'"),
        (["--input", "data", "--set", "output=x"], "there is no 'output' here"),
        (["--input", "azureml:data:1"], "azureml:data:1: "),
        (["--input", "data", "--output-path", "https://x/y"], "a folder of this machine"),
        (["--input", "data", "--job-name", "../x"], "is no name of a job"),
        (["--input", "data", "--input-type", "mltable"], "There is no file MLTable"),
    ],
)
def test_what_cannot_be_started(deployed: Pf, words: list[str], told: str) -> None:
    code, out, error = deployed("batch-endpoint", "invoke", "-n", "sums", *words)
    assert (code != 0, out) == (True, "")
    assert told in error
    assert deployed("job", "list", "-o", "json")[1].strip() == "[]"


def test_changing_and_deleting(deployed: Pf) -> None:
    pf = deployed
    assert pf("batch-deployment", "create", "-f", "deployment.yml", "-n", "other")[0] == 0
    assert (
        pf("batch-endpoint", "show", "-n", "sums", "--query", "defaults.deployment_name", "-o", "tsv")[1] == "driver\n"
    )
    assert pf("batch-endpoint", "update", "-n", "sums", "--set", "defaults.deployment_name=other")[0] == 0
    shown = json.loads(pf("batch-endpoint", "show", "-n", "sums")[1])
    assert (shown["defaults"], shown["description"]) == ({"deployment_name": "other"}, "Sums")
    assert shown["scoring_uri"].startswith("http://127.0.0.1:")
    assert shown["scoring_uri"].endswith("/api/v1/batch-endpoints/sums/jobs")
    assert pf("batch-endpoint", "update", "-n", "sums", "--defaults", "deployment_name=driver")[0] == 0
    words = ("-n", "other", "-e", "sums", "--set", "settings.mini_batch_size=5")
    assert pf("batch-deployment", "update", *words)[0] == 0
    shown = json.loads(pf("batch-deployment", "show", "-n", "other", "-e", "sums")[1])
    assert (shown["settings"]["mini_batch_size"], shown["settings"]["max_concurrency_per_instance"]) == (5, 2)
    assert (shown["revision"], shown["default"]) == (2, False)
    assert "other" in pf("batch-deployment", "list", "-e", "sums")[1]
    assert "sums" in pf("batch-endpoint", "list")[1]
    code, _, error = pf("batch-deployment", "delete", "-n", "driver", "-e", "sums", "-y")
    assert (code, "is the default deployment" in error) == (1, True)
    assert pf("batch-deployment", "delete", "-n", "other", "-e", "sums", "--yes")[0] == 0
    assert pf("batch-endpoint", "delete", "-n", "sums", "--yes")[0] == 0
    assert pf("batch-endpoint", "list", "-o", "json")[1].strip() == "[]"


def test_a_failed_job_is_an_exit_code(deployed: Pf, project: Path) -> None:
    (project / "code" / "driver.py").write_text("def run(batch):\n    raise ValueError('no')\n")
    words = ("--set", "settings.retry_settings.max_retries=0")
    assert deployed("batch-deployment", "update", "-f", "deployment.yml", *words)[0] == 0
    code, text, error = deployed("batch-endpoint", "invoke", "-n", "sums", "--input", "data", "--stream")
    assert (code, "Failed: All 7 items failed: run() raised ValueError" in error) == (1, True)
    name = json.loads(text)["name"]
    assert deployed("job", "stream", "-n", name)[0] == 1
    assert deployed("job", "resume", "-n", name, "--stream")[0] == 1
    code, _, error = deployed("job", "cancel", "-n", name)
    assert (code, "has ended: it is Failed" in error) == (1, True)
    assert deployed("job", "show", "-n", "none")[0] == 1


FLOW = """\
inputs:
  text: {type: string}
  shout: {type: string, default: "!"}
outputs:
  answer: {type: string, reference: "${upper.output}"}
nodes:
- name: upper
  type: python
  source: {type: code, path: upper.py}
  inputs: {text: "${inputs.text}", shout: "${inputs.shout}"}
"""
TOOL = """
import os
from promptflow.core import tool

@tool
def upper(text: str, shout: str) -> str:
    if text == "bad":
        raise ValueError("not that")
    return text.upper() + shout + os.environ.get("MARK", "")
"""


@pytest.fixture
def flow(pf: Pf, project: Path) -> Pf:
    (project / "flow").mkdir()
    (project / "flow" / "flow.dag.yaml").write_text(FLOW)
    (project / "flow" / "upper.py").write_text(TOOL)
    (project / "rows.jsonl").write_text("".join(json.dumps({"q": word}) + "\n" for word in ("a", "bad", "c")))
    assert pf("batch-endpoint", "create", "-n", "flows")[0] == 0
    words = ("--flow", "flow", "--set", "environment_variables.MARK=?")
    code, _, error = pf("batch-deployment", "create", "-n", "up", "-e", "flows", *words)
    assert code == 0, error
    return pf


def test_a_flow_is_a_run_of_the_jobs_name(flow: Pf, project: Path) -> None:
    words = ("--input", "rows.jsonl", "--inputs", "text=${data.q}", "shout=!!", "--job-name", "first", "--stream")
    code, _, error = flow("batch-endpoint", "invoke", "-n", "flows", *words)
    assert code == 0, error
    assert flow("job", "download", "-n", "first")[0] == 0
    rows = (project / "named-outputs/score/predictions.csv").read_text().splitlines()
    assert rows[0] == "line_number,inputs.text,inputs.shout,outputs.answer,status,error"
    assert rows[1] == "0,a,!!,A!!?,Completed,"
    assert rows[2].startswith("1,bad,!!,,Failed,")
    shown = json.loads(flow("job", "show", "-n", "first")[1])
    assert shown["progress"] == {"items": 3, "ended": 3, "failed_items": 1, "rows": 2}
    assert json.loads(flow("run", "show", "-n", "first")[1])["status"] == "Completed"


def test_a_flow_with_too_many_failed_rows(flow: Pf, project: Path) -> None:
    words = ("--input", "rows.jsonl", "--inputs", "text=${data.q}", "--job-name", "strict", "--stream")
    code, _, error = flow("batch-endpoint", "invoke", "-n", "flows", *words, "--set", "error_threshold=0")
    assert (code, "1 rows failed, and error_threshold is 0" in error) == (1, True)
    assert flow("job", "resume", "-n", "strict", "--stream")[0] == 1
    code, _, error = flow("batch-endpoint", "invoke", "-n", "flows", "--input", "*.jsonl", "--stream")
    assert (code, "goes through a file, a folder or a url" in error) == (1, True)


def test_a_job_survives_what_started_it(deployed: Pf, project: Path) -> None:
    words = ["batch-endpoint", "invoke", "-n", "sums", "--input", "data", "--job-name", "alone"]
    code = "import os, signal, sys; from promptflow.cli.main import main; main(sys.argv[1:]); "
    code += "sys.stdout.flush(); os.killpg(0, signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code, *words], start_new_session=True, capture_output=True)
    assert done.returncode == -9
    assert deployed("job", "stream", "-n", "alone")[0] == 0
