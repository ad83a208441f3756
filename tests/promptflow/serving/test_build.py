"""`pf flow build`: what it writes, what it must never write, and that it starts."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import jsonschema
import kubernetes_validate
import pytest
from packaging.requirements import Requirement

from promptflow.cli.main import main
from promptflow.client import PFClient
from promptflow.connections.custom import CustomConnection
from promptflow.connections.models import OpenAIConnection
from promptflow.serving.export.build import uses_local
from promptflow.serving.export.lock import lock_requirements
from promptflow.serving.export.manifests import dns_name
from promptflow.workspace.yamlfile import load_yaml
from tests.promptflow.flowkit import dag, write

SECRET, OTHER = "sk-never-in-a-build-1", "never-in-a-build-2"
YAML = """
additional_includes: [../shared.py]
environment_variables: {FROM: "${my custom.endpoint}"}
inputs: {x: {type: string, default: dx}}
outputs: {o: {type: string, reference: "${a.output}"}}
nodes:
- {name: a, type: python, use_variants: true}
node_variants:
  a:
    default_variant_id: plain
    variants:
      plain: {node: {type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}", end: ".", c: open one}}}
      loud: {node: {type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}", end: "!", c: open one}}}
"""
CODE = """
import os
import shared
from promptflow.core import tool
from promptflow.connections import OpenAIConnection

@tool
def a(x: str, end: str, c: OpenAIConnection):
    return f"{shared.mark(x)}{end} {c.api_key} {c.base_url} {os.environ['FROM']}"
"""


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    client = PFClient()
    client.connections.create_or_update(OpenAIConnection(SECRET, base_url="http://127.0.0.1:9/v1", name="open one"))
    client.connections.create_or_update(
        CustomConnection(name="my custom", configs={"endpoint": "http://here"}, secrets={"token": OTHER})
    )
    write(tmp_path, shared_py="def mark(x): return f'<{x}>'\n")
    folder = dag(
        tmp_path / "My Flow_1", YAML, a_py=CODE, requirements_txt="jinja2>=3\nnot-of-this-machine>=2  # later\n"
    )
    (folder / ".env").write_text("KEY=private\n")
    return folder


def build(flow: Path, output: Path, *words: str) -> int:
    return main(["flow", "build", "--source", str(flow), "--output", str(output), *words])


def test_a_build_holds_the_flow_its_connections_and_its_packages(flow, tmp_path, capsys):
    assert build(flow, tmp_path / "out") == 0

    out = tmp_path / "out"
    assert {p.name for p in out.iterdir()} >= {
        "flow", "connections", "Dockerfile", "requirements.lock", "settings.json", "start.sh", "README.md"
    }  # fmt: skip
    assert capsys.readouterr().out.strip() == str(out)
    assert {p.name for p in (out / "flow").iterdir()} == {
        "flow.dag.yaml",
        "a.py",
        "echo.py",
        "shared.py",
        "requirements.txt",
    }
    assert "additional_includes" not in (out / "flow" / "flow.dag.yaml").read_text()
    assert json.loads((out / "settings.json").read_text()) == {"MY_CUSTOM_TOKEN": "", "OPEN_ONE_API_KEY": ""}
    connection, _ = load_yaml(out / "connections" / "open_one.yaml")
    assert (connection["name"], connection["api_key"]) == ("open one", "${env:OPEN_ONE_API_KEY}")
    assert load_yaml(out / "connections" / "my_custom.yaml")[0]["secrets"] == {"token": "${env:MY_CUSTOM_TOKEN}"}
    docker = (out / "Dockerfile").read_text()
    assert re.search(r"^USER 10001$", docker, re.M) and "HEALTHCHECK" in docker and "EXPOSE 8080" in docker
    assert os.stat(out / "start.sh").st_mode & stat.S_IXUSR


def test_no_file_of_a_build_holds_a_secret(flow, tmp_path):
    for format in ("docker", "kubernetes", "kserve"):
        assert build(flow, tmp_path / format, "--format", format) == 0
        for file in (tmp_path / format).rglob("*"):
            if file.is_file():
                content = file.read_bytes()
                assert SECRET.encode() not in content and OTHER.encode() not in content and b"private" not in content


def test_a_flow_whose_files_hold_a_secret_is_not_built(flow, tmp_path, capsys):
    (flow / "notes.md").write_text(f"the key is {SECRET}")

    assert build(flow, tmp_path / "out") == 1

    told = capsys.readouterr().err
    assert "notes.md" in told and "'api_key' of connection 'open one'" in told and SECRET not in told
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == []


def health_check(folder: Path, port: str) -> int:
    """The exit code of what the Dockerfile says, run here."""
    command = re.search(r"HEALTHCHECK .*\\\n\s+CMD (\[.*\])", (folder / "Dockerfile").read_text())
    assert command is not None
    python, *words = json.loads(command[1])
    assert python == "python"
    environ = {"PF_SERVING_PORT": port, "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run([sys.executable, *words], env=environ, stderr=subprocess.DEVNULL, timeout=20).returncode


@pytest.mark.parametrize("start, workers", [("python -m", "1"), ("start.sh", "2")])
def test_a_build_starts_without_a_container(flow, tmp_path, start, workers):
    assert build(flow, tmp_path / "out", "--variant", "${a.loud}") == 0
    environ = {
        "PATH": os.environ["PATH"], "PYTHON": sys.executable, "PF_SERVING_PORT": "0", "HOME": str(tmp_path),
        "OPEN_ONE_API_KEY": "given", "MY_CUSTOM_TOKEN": "too",
        "PROMPTFLOW_WORKER_NUM": workers,
    }  # fmt: skip
    module = [sys.executable, "-m", "promptflow.serving", str(tmp_path / "out")]
    command = module if start == "python -m" else ["sh", str(tmp_path / "out" / "start.sh")]
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert process.stderr is not None
        url = process.stderr.readline().strip()
        answer = httpx.post(f"{url}/score", json={"x": "s"}, timeout=20)
        assert answer.json() == {"o": "<s>! given http://127.0.0.1:9/v1 http://here"}
        assert health_check(tmp_path / "out", url.rpartition(":")[2]) == 0
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert health_check(tmp_path / "out", url.rpartition(":")[2]) != 0


def test_a_build_without_its_secrets_says_which_one_is_missing(flow, tmp_path):
    assert build(flow, tmp_path / "out") == 0

    ended = subprocess.run(
        [sys.executable, "-m", "promptflow.serving", str(tmp_path / "out"), "--port", "0"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MY_CUSTOM_TOKEN": "x"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert ended.returncode == 1
    assert "OPEN_ONE_API_KEY" in ended.stderr and "Traceback" not in ended.stderr


def test_packages_are_locked_with_all_that_they_need(flow, tmp_path):
    assert build(flow, tmp_path / "out") == 0

    lines = (tmp_path / "out" / "requirements.lock").read_text().splitlines()
    pins = {Requirement(line).name.lower(): Requirement(line) for line in lines if "==" in line}
    assert {"promptflow", "jinja2", "markupsafe", "fastapi", "uvicorn"} <= pins.keys()
    assert all(len(pin.specifier) == 1 for pin in pins.values())
    assert lines[-1] == "not-of-this-machine>=2"


def test_what_files_import_and_conda_names_is_locked_too(tmp_path):
    code = "import os\nimport yaml, beside\nfrom httpx import get\n"
    conda = "dependencies: [python=3.9, pip, 'conda-forge::rich', {pip: ['orjson[x]>=3', '-r more.txt']}]\n"
    folder = write(tmp_path, code_py=code, beside_py="", env_yaml=conda)

    lock = lock_requirements(folder, {"conda_file": "env.yaml"})

    assert {"pyyaml", "httpx", "rich", "orjson"} <= lock.pins.keys()
    assert lock.unlocked == ["-r more.txt"]
    assert lock.pins["orjson"].startswith("orjson[x]==")


def test_files_that_requirements_name_are_read_for_the_lock_is_elsewhere(tmp_path):
    folder = write(tmp_path, requirements_txt="-r parts/web.txt\n--requirement=requirements.txt\n-r missing.txt\n")
    (folder / "parts").mkdir()
    (folder / "parts" / "web.txt").write_text("httpx\n-r more.txt\n")
    (folder / "parts" / "more.txt").write_text("rich>=1\n")

    lock = lock_requirements(folder, {})

    assert {"httpx", "rich"} <= lock.pins.keys()
    assert lock.unlocked == ["-r missing.txt"]


def test_wheels_that_would_write_over_this_package_are_not_locked(tmp_path):
    lines = "promptflow==1.18.5\npromptflow-core\npromptflow_devkit>=1.17\npromptflow-azure[x]\nnot-here\n"

    lock = lock_requirements(write(tmp_path, requirements_txt=lines), {})

    assert lock.unlocked == ["not-here"]
    assert [name for name in lock.pins if name.startswith("promptflow")] == ["promptflow"]


def test_a_lock_has_the_event_loop_in_c_where_it_is_installed(tmp_path):
    lock = lock_requirements(write(tmp_path, a_py=""), {})

    assert ("uvloop" in lock.pins) == (importlib.util.find_spec("uvloop") is not None)


@pytest.mark.parametrize(
    "line", ["connection: local", "{api: chat, connection: 'local'}", '"connection": "local:tiny"']
)
def test_a_flow_whose_prompts_name_the_built_in_model_brings_its_engine(tmp_path, line):
    write(tmp_path, a_py="")
    assert not uses_local(tmp_path)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "ask.prompty").write_text(line)
    assert uses_local(tmp_path)


def test_the_folder_of_connections_outlives_a_checkout_without_any(tmp_path):
    plain = write(tmp_path / "plain", flow_dag_yaml="inputs: {}\noutputs: {}\nnodes: []\n")

    assert build(plain, tmp_path / "out") == 0
    assert [file.name for file in (tmp_path / "out" / "connections").iterdir()] == [".gitkeep"]


@pytest.mark.parametrize("format", ["kubernetes", "kserve"])
def test_manifests_keep_to_the_published_schemas(flow, tmp_path, format):
    assert build(flow, tmp_path / "out", "--format", format, "--image", "registry.example/flow:1") == 0

    files = sorted((tmp_path / "out" / format).iterdir())
    documents = {file.name: load_yaml(file)[0] for file in files}

    if format == "kubernetes":
        assert list(documents) == ["autoscaler.yaml", "deployment.yaml", "service.yaml"]
        for document in documents.values():
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        pod = documents["deployment.yaml"]["spec"]["template"]["spec"]
    else:
        document = documents["inference-service.yaml"]
        jsonschema.validate(document, json.loads(Path(__file__).with_name("kserve_schema.json").read_text()))
        pod = document["spec"]["predictor"]
        kubernetes_validate.validate(_pod_of(pod), kubernetes_validate.latest_version(), strict=True)
    container = pod["containers"][0]
    assert container["image"] == "registry.example/flow:1"
    assert pod["securityContext"]["runAsNonRoot"] is True
    secret = next(one for one in container["env"] if one["name"] == "OPEN_ONE_API_KEY")
    assert secret["valueFrom"]["secretKeyRef"] == {"name": "my-flow-1-connections", "key": "OPEN_ONE_API_KEY"}


def _pod_of(predictor):
    """The pod that KServe makes of a predictor's parts."""
    own = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget"}
    spec = {key: value for key, value in predictor.items() if key not in own}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}


@pytest.mark.parametrize(
    "name, dns", [("My Flow_1", "my-flow-1"), ("1st", "flow-1st"), ("ü", "flow"), ("a" * 80, "a" * 50), ("x-", "x")]
)
def test_names_are_made_fit_for_kubernetes(name, dns):
    assert dns_name(name) == dns


def test_an_executable_is_refused_with_what_to_do_instead(flow, tmp_path, capsys):
    assert build(flow, tmp_path / "out", "--format", "executable") == 1
    assert "python -m promptflow.serving" in capsys.readouterr().err


def test_the_readme_tells_of_a_request_that_the_flow_answers(tmp_path):
    text = (
        'inputs: {n: {type: int}, q: {type: string}}\noutputs: {o: {type: int, reference: "${inputs.n}"}}\nnodes: []\n'
    )
    assert build(write(tmp_path / "plain", flow_dag_yaml=text), tmp_path / "out") == 0

    assert """/score -H 'Content-Type: application/json' -d '{"n": 1, "q": "..."}'""" in (
        tmp_path / "out" / "README.md"
    ).read_text(encoding="utf-8")


def test_what_is_neither_a_flow_nor_a_run_is_called_so(tmp_path, capsys):
    assert build(tmp_path / "nowhere", tmp_path / "out") == 1
    assert "neither a flow at" in capsys.readouterr().err


def test_only_what_was_built_is_overwritten(flow, tmp_path, capsys):
    other = write(tmp_path / "other", thesis_txt="years of work")

    assert build(flow, tmp_path / "out") == 0
    assert build(flow, tmp_path / "out") == 0
    assert build(flow, other) == 1
    assert build(flow, flow) == 1
    assert build(flow, flow.parent) == 1
    assert (other / "thesis.txt").exists() and (flow / "flow.dag.yaml").exists()


def test_the_flow_of_a_run_can_be_built(tmp_path, capsys):
    folder = dag(
        tmp_path / "plain",
        "inputs: {x: {type: string}}\noutputs: {o: {type: string, reference: '${inputs.x}'}}\nnodes: []\n",
    )
    (tmp_path / "data.jsonl").write_text('{"x": "1"}\n')
    PFClient().run(folder, data=tmp_path / "data.jsonl", name="first_run")
    (folder / "flow.dag.yaml").write_text("changed since")

    assert main(["run", "build", "--source", "first_run", "--output", str(tmp_path / "out")]) == 0

    assert "changed since" not in (tmp_path / "out" / "flow" / "flow.dag.yaml").read_text()
    assert "docker build -t plain" in (tmp_path / "out" / "README.md").read_text()


def test_a_class_and_a_prompty_bring_the_connections_that_they_name(flow, tmp_path):
    init = "init: {model: {type: OpenAIModelConfiguration}, c: {type: CustomConnection, default: my custom}}\n"
    sample = "sample: {init: {model: {connection: open one, model: gpt}}}\n"
    flex = write(
        tmp_path / "flex",
        flow_flex_yaml=f"entry: m:C\n{init}{sample}",
        m_py="class C:\n    def __call__(self): return 1\n",
    )
    prompty = tmp_path / "prompty" / "ask.prompty"
    prompty.parent.mkdir()
    prompty.write_text(
        "---\nmodel:\n  configuration: {type: openai, connection: open one, model: gpt}\n---\nuser:\nhi\n"
    )

    assert build(flex, tmp_path / "a") == 0
    assert build(prompty.parent, tmp_path / "b") == 0

    assert {p.name for p in (tmp_path / "a" / "connections").iterdir()} == {"open_one.yaml", "my_custom.yaml"}
    assert {p.name for p in (tmp_path / "b" / "connections").iterdir()} == {"open_one.yaml"}


def test_a_version_that_no_index_has_is_part_of_the_build(flow, tmp_path, monkeypatch):
    monkeypatch.setattr("promptflow.serving.export.build.is_from_an_index", lambda: False)
    assert build(flow, tmp_path / "out") == 0
    wheel = next((tmp_path / "out" / "wheels").glob("promptflow-*.whl"))

    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(tmp_path / "site")]
    subprocess.run([*pip, str(wheel)], check=True, timeout=100)

    script = "import promptflow.serving.page as p; print(p.__file__); p._template()"
    told = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert told.stdout.startswith(str(tmp_path / "site")), told.stderr
    assert "COPY wheels/ wheels/" in (tmp_path / "out" / "Dockerfile").read_text()
    assert zipfile.ZipFile(wheel).testzip() is None
