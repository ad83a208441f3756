"""The base install: small, it runs flows, and what it lacks it names with the line that installs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promptflow._version import __version__
from tests.packaging import flows
from tests.packaging.environments import Environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MEGABYTES = 120
NOT_OURS = ("pip", "pip-", "setuptools", "setuptools-", "_distutils_hack", "pkg_resources", "distutils-precedence")


def sizes(site_packages: Path) -> dict[str, float]:
    """Megabytes on disk by top-level folder or file, bytecode included: what ``du -m`` says."""
    found: dict[str, float] = {}
    for path in site_packages.rglob("*"):
        top = path.relative_to(site_packages).parts[0]
        if not path.is_symlink() and not top.startswith(NOT_OURS):
            found[top] = found.get(top, 0) + path.stat().st_blocks / 2048
    return found


def test_the_base_install_is_light(base: Environment):
    found = sizes(base.site_packages)
    table = "\n".join(f"{size:6.1f}  {name}" for name, size in sorted(found.items(), key=lambda item: -item[1])[:25])

    assert sum(found.values()) <= MEGABYTES, table


def test_the_base_install_has_no_extra(base: Environment):
    heavy = {
        "rich",
        "uvloop",
        "pandas",
        "numpy",
        "onnxruntime",
        "pyarrow",
        "openai",
        "langchain-core",
        "opentelemetry-sdk",
        "torch",
    }

    assert heavy.isdisjoint(base.versions())


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    return flows.write(tmp_path / "flow", flows.PYTHON)


def test_pf_says_its_version(base: Environment):
    assert json.loads(base.script("pf", "--version").stdout) == {"promptflow": __version__}


def test_a_flow_is_tested(base: Environment, flow: Path):
    done = base.pf("flow", "test", "--flow", flow, "--inputs", "text=x")

    assert (done.returncode, json.loads(done.stdout)) == (0, {"loud": "X"}), done.stderr


def test_a_batch_runs_and_is_looked_at(base: Environment, flow: Path, tmp_path: Path):
    mapping = "text=${data.text}"
    done = base.pf(
        "run", "create", "--flow", flow, "--data", flow / "data.jsonl", "--name", "r", "--column-mapping", mapping
    )
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "Completed"), done.stderr

    details = base.pf("run", "show-details", "-n", "r", "-o", "json")
    assert [row["outputs.loud"] for row in json.loads(details.stdout)] == ["A", "B"], details.stderr
    page = tmp_path / "page.html"
    assert base.pf("run", "visualize", "-n", "r", "--html-path", page).returncode == 0
    assert "<html" in page.read_text(encoding="utf-8")


def test_a_connection_is_kept_with_its_key_hidden(base: Environment, tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("name: c\ntype: open_ai\napi_key: verysecret\n", encoding="utf-8")
    done = base.pf("connection", "create", "-f", file)

    assert (done.returncode, json.loads(done.stdout)["name"]) == (0, "c"), done.stderr
    assert "verysecret" not in done.stdout


LOCAL = {
    "flow.dag.yaml": """\
inputs: {}
outputs:
  a: {type: string, reference: "${ask.output}"}
nodes:
- {name: ask, type: llm, source: {type: code, path: a.jinja2}, inputs: {model: builtin/intent-mini},
   connection: local, api: chat}
""",
    "a.jinja2": "user:\nhello\n",
}


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("parquet", ["run", "create", "--flow", "flow", "--data", "rows.parquet"]),
        ("cpu", ["flow", "test", "--flow", "local"]),
    ],
)
def test_pf_names_the_extra_that_a_command_needs(base: Environment, flow: Path, extra: str, words: list[str]):
    folder = flow.parent
    (folder / "rows.parquet").write_bytes(b"PAR1")
    flows.write(folder / "local", LOCAL)
    done = base.pf(*words, cwd=folder)

    assert done.returncode == 1
    assert f"promptflow[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_pf_names_the_driver_that_a_postgresql_workspace_needs(base: Environment):
    done = base.pf("run", "list", PF_DATABASE_URL="postgresql://u:p@127.0.0.1:1/db")

    assert (done.returncode, "promptflow[postgres]" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ("langchain", "import promptflow.integrations.langchain"),
        (
            "openai",
            "from promptflow.connections import OpenAIConnection\n"
            "from promptflow.tools.common import init_openai_client\n"
            "init_openai_client(OpenAIConnection(api_key='k'))",
        ),
        (
            "pandas",
            "from promptflow.client import PFClient\n"
            "pf = PFClient()\n"
            "pf.get_details(pf.run(flow='flow', data='flow/data.jsonl'))",
        ),
    ],
)
def test_code_that_needs_an_extra_gets_the_line_that_installs_it(base: Environment, flow: Path, extra: str, code: str):
    done = base.run("-c", code, cwd=flow.parent)

    last = done.stderr.strip().splitlines()[-2:]
    assert done.returncode == 1
    assert "MissingExtraError" in " ".join(last), done.stderr
    assert f"promptflow[{extra}]" in " ".join(last), done.stderr


def test_traces_are_listed_and_exported_without_an_extra(base: Environment, flow: Path, tmp_path: Path):
    assert base.pf("flow", "test", "--flow", flow).returncode == 0
    listed = base.pf("trace", "list", "-o", "json")

    assert (listed.returncode, len(json.loads(listed.stdout))) == (0, 1), listed.stderr


def test_doctor_finds_nothing_to_mend(base: Environment):
    done = base.pf("doctor", "-o", "json")

    assert done.returncode == 0, done.stdout
    assert {check["state"] for check in json.loads(done.stdout)} <= {"ok", "note"}
