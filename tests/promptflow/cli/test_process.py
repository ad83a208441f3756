"""`pf` as a process: what it imports, what it connects to, what its streams hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.promptflow.cli.conftest import rows

HEAVY = {
    "torch", "transformers", "pandas", "mlflow", "openai", "streamlit", "ray", "opentelemetry.sdk", "numpy", "fastapi",
    "aiohttp", "httpx", "alembic", "rich", "cryptography", "pydantic", "jinja2",
}  # fmt: skip
# Runs `pf`, then tells on stderr what was imported and which addresses were tried.
PROBE = """
import json, sys
tried = []
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        tried.append(str(args))
        raise PermissionError("no connections in this test")
sys.addaudithook(watch)
from promptflow.cli.main import main
code = main(sys.argv[1:])
print("PROBE" + json.dumps({"code": code, "modules": sorted(sys.modules), "tried": tried}), file=sys.stderr)
"""


def probe(project: Path, *words: str) -> tuple[set[str], list[str], str]:
    """(modules, addresses tried, stdout) of one `pf` in a process of its own. Its exit code must be 0."""
    done = subprocess.run([sys.executable, "-c", PROBE, *words], cwd=project, capture_output=True, text=True)
    told = json.loads(done.stderr.rpartition("PROBE")[2])
    assert told["code"] == 0, done.stderr
    return set(told["modules"]), told["tried"], done.stdout


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] == "promptflow"}


def test_the_version_loads_nothing_of_ours_but_the_version(project: Path) -> None:
    modules, _, _ = probe(project, "--version")
    lazy = {"promptflow._lazy"}
    assert ours(modules) - lazy == {"promptflow", "promptflow._version", "promptflow.cli", "promptflow.cli.main"}
    assert "argparse" not in modules


def test_listing_runs_loads_nothing_heavy(project: Path) -> None:
    modules, _, _ = probe(project, "run", "list")
    probe(project, "run", "create", "--flow", "f", "--data", "good.jsonl")
    again, _, _ = probe(project, "run", "list")
    assert (modules & HEAVY) <= {"alembic"}  # it makes the tables of a new workspace
    assert again & HEAVY == set()


def test_testing_a_python_flow_loads_no_database_no_http_and_no_event_loop(project: Path) -> None:
    modules, _, _ = probe(project, "flow", "test", "--flow", "f", "--inputs", "x=1")
    assert modules & (HEAVY | {"sqlalchemy", "asyncio", "ssl", "http.client", "multiprocessing"}) == set()


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["flow", "test", "--flow", "f", "--inputs", "x=1"],
        ["run", "create", "--flow", "f", "--data", "good.jsonl"],
        ["run", "list"],
        ["connection", "list"],
        ["config", "show"],
        ["upgrade"],
        ["doctor"],
        ["migrate", "check", "."],
    ],
    ids=" ".join,
)
def test_no_connection_is_tried(project: Path, words: list[str]) -> None:
    assert probe(project, *words)[1] == []


def run(project: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "promptflow.cli.main", *words]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, env={**os.environ, **variables})


def test_stdout_parses_whatever_the_tools_print(project: Path) -> None:
    tool = project / "f" / "a.py"
    shout = "import os, subprocess\nos.write(1, b'raw')\nsubprocess.run(['echo', 'from a child'])\n"
    tool.write_text(shout + tool.read_text(), encoding="utf-8")
    (project / "c.yaml").write_text("name: c\ntype: custom\nsecrets: {a: b}\n", encoding="utf-8")
    for words in (
        ["flow", "test", "--flow", "f", "--inputs", "x=1"],
        ["run", "create", "--flow", "f", "--data", "good.jsonl", "--name", "r"],
        ["run", "create", "--flow", "f", "--data", "good.jsonl", "--stream"],
        ["run", "list"],
        ["run", "show", "-n", "r"],
        ["run", "show-metrics", "-n", "r"],
        ["run", "show-details", "-n", "r", "-o", "json"],
        ["run", "stream", "-n", "r"],
        ["run", "update", "-n", "r", "--set", "tags.a=b"],
        ["run", "archive", "-n", "r"],
        ["run", "restore", "-n", "r"],
        ["connection", "create", "-f", "c.yaml"],
        ["connection", "show", "-n", "c"],
        ["connection", "list"],
        ["config", "show"],
        ["tool", "list"],
        ["trace", "list", "-o", "json"],
        ["flow", "validate", "--source", "f", "-o", "json"],
        ["migrate", "check", ".", "-o", "json"],
        ["doctor", "-o", "json"],
    ):
        done = run(project, *words)
        assert done.returncode == 0, (words, done.stderr)
        json.loads(done.stdout)


def test_the_reader_of_a_pipe_may_leave(project: Path) -> None:
    command = f"{sys.executable} -m promptflow.cli.main tool list | head -c 10; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=project, capture_output=True, text=True)
    assert done.stdout.endswith("0\n")
    assert done.stderr == ""


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(project: Path) -> None:
    tool = project / "f" / "a.py"
    tool.write_text(
        "import os, signal\nfrom promptflow.core import tool\n\n@tool\ndef echo(x: str):\n"
        "    if x == 'stop':\n        os.kill(os.getpid(), signal.SIGINT)\n    return x\n",
        encoding="utf-8",
    )
    rows(project / "many.jsonl", "one", "stop", *("more" for _ in range(500)))
    done = run(project, "run", "create", "--flow", "f", "--data", "many.jsonl", "--name", "r", PF_WORKER_COUNT="1")
    assert done.returncode == 130
    assert json.loads(done.stdout)["status"] == "Canceled"
    assert "resume with: pf run resume r" in done.stderr


def test_a_run_whose_process_was_killed_is_not_waited_for(project: Path) -> None:
    tool = project / "f" / "a.py"
    killing = tool.read_text().replace(
        "    print(", "    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)\n    print("
    )
    tool.write_text(killing, encoding="utf-8")
    assert run(project, "run", "create", "--flow", "f", "--data", "good.jsonl", "--name", "r").returncode == -9
    done = run(project, "run", "stream", "-n", "r")
    assert done.returncode == 1
    assert "resume with: pf run resume r" in done.stderr
    tool.write_text(tool.read_text().replace("SIGKILL", "SIGCONT"), encoding="utf-8")
    assert run(project, "run", "resume", "r", "--accept-changes").returncode == 0


@pytest.mark.parametrize("text", ["é€😀", "a\udcff"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_parses_in_every_encoding(project: Path, text: str, encoding: str) -> None:
    done = run(project, "flow", "test", "--flow", "f", "--inputs", f"x={text}", PYTHONIOENCODING=encoding)
    assert json.loads(done.stdout) == {"o": f"<{text}>"}


def test_closed_streams_are_no_fault(project: Path) -> None:
    command = f"{sys.executable} -m promptflow.cli.main run list >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], cwd=project).returncode == 0


def test_narrow_and_odd_streams_do_not_break(project: Path) -> None:
    assert run(project, "doctor", COLUMNS="20", PYTHONIOENCODING="ascii", TERM="dumb").returncode == 0
