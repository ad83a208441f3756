"""Batches on real Ray clusters: one of our own, and two nodes on this machine of which one is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from promptflow.batch.engine import run_lines
from promptflow.batch.options import RunOptions
from promptflow.connections.custom import CustomConnection
from promptflow.exceptions import BatchExecutionTimeoutError, UserErrorException
from promptflow.executor.loader import load_executor
from tests.promptflow import flowkit
from tests.promptflow.batch.test_engine import Results, rows

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("ray") is None, reason="promptflow[ray] is not installed")]

SECRET = "sk-of-nobodys-business"
SLOW = "import time\n@tool\ndef node(x: str):\n    time.sleep(0.02)\n    return x.upper()"
WITH_SECRET = """
inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: "${node.output}"}
nodes:
- {name: node, type: python, source: {type: code, path: node.py}, inputs: {x: "${inputs.x}", mine: mine}}
"""
USE_SECRET = """
import time
from promptflow.core import tool
from promptflow.connections import CustomConnection

@tool
def node(x: str, mine: CustomConnection):
    time.sleep(0.2)
    return [x, mine.secrets["key"][::-1]]
"""


class Cluster:
    """Two nodes in a process of their own."""

    def __init__(self) -> None:
        script = Path(__file__).parents[2] / "ray_cluster.py"
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        told = json.loads(self._answer("{"))
        self.address, self.client, self.token = told["address"], f"ray://{told['client']}", Path(told["token"])

    def do(self, what: str) -> None:
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        self._answer("done")

    def _answer(self, begins: str) -> str:
        for line in self._process.stdout:  # between things that Ray says
            if line.startswith(begins):
                return line
        raise AssertionError("the cluster has ended")

    def close(self) -> None:
        self._process.stdin.close()
        for _ in self._process.stdout:
            pass
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def nodes():
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(nodes, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(nodes.token))
    return nodes


@pytest.fixture
def executor_of(executor_of):
    return lambda code, **kwargs: load_executor(executor_of(code).flow.folder, **kwargs)


def run(executor, lines, done=None, **options):
    results = Results()

    def both(*line):
        assert line[0].run_info.index not in results
        results(*line)
        if done is not None:
            done()

    return results, run_lines(executor, lines, both, run_id="r", options=RunOptions(**options))


def processes() -> dict[int, bytes]:
    """Command lines and environments of the processes of this user, by number."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found[int(folder.name)] = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            except OSError:
                continue
    return found


def shown(secret: str) -> list[int]:
    """The processes that show it to who lists them."""
    return [pid for pid, text in processes().items() if secret.encode() in text]


def own_folder() -> str:
    """The folder of the cluster that a batch in this process has started."""
    (gateway,) = [text for pid, text in processes().items() if b"ray_gateway" in text and parent(pid) == os.getpid()]
    return gateway.partition(b"/pf-ray-")[2].partition(b"\0")[0].decode()


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_a_cluster_of_our_own_comes_and_goes(executor_of):
    code = """
    import os
    @tool
    def node(x: str):
        print("hello", x)
        if x == "c":
            os._exit(3)
        return [x, os.getpid(), os.getcwd(), os.environ["MINE"][::-1]]
    """
    executor = executor_of(code, environment_variables={"MINE": SECRET})
    seen, folders = [], set()

    def look():
        seen.append(shown(SECRET))
        folders.add(own_folder())

    with executor.activated():  # which sets the variable in this process
        results, finished = run(executor, rows(*"abcdefghij"), done=look, compute="ray", workers=2)
    assert finished and len(results) == 10
    assert list(results.errors()) == [2] and "exit code 3" in results.errors()[2]
    assert results[0].output["o"][2:] == [str(executor.flow.folder), SECRET[::-1]]
    assert results.printed[3] == "hello d\n"
    assert results[3].node_run_infos["node"].run_id == "r_node_3"
    assert len({r.output["o"][1] for n, r in results.items() if n != 2}) >= 2
    assert seen == [[]] * 10
    (folder,) = folders
    assert not shown(f"/pf-ray-{folder}")
    assert not Path(f"/tmp/pf-ray-{folder}").exists()
    assert "ray" not in sys.modules


def test_a_head_node_that_fails_to_take_the_batch_in_is_asked_again(executor_of, cluster):
    killed = []

    def kill_at_birth():
        while not killed:
            for pid, text in processes().items():
                if b"specific-server" in text and not killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    watch = threading.Thread(target=kill_at_birth, daemon=True)
    watch.start()
    results, finished = run(executor_of(SLOW), rows(*"abc"), compute=cluster.client)
    assert killed and finished and len(results) == 3


def test_secrets_are_nowhere_to_be_seen(cluster, tmp_path):
    folder = flowkit.write(tmp_path / "flow", flow_dag_yaml=WITH_SECRET, node_py=USE_SECRET)
    connection = CustomConnection(name="mine", secrets={"key": SECRET})
    executor = load_executor(folder, provider=lambda name: connection)
    seen = []

    results, _ = run(executor, rows(*"abcd"), done=lambda: seen.append(shown(SECRET)), compute=cluster.client)
    assert [r.output["o"][1][::-1] for r in results.values()] == [SECRET] * 4
    assert seen == [[]] * 4
    written = [file for file in cluster.token.parent.rglob("*") if file.is_file() and not file.is_symlink()]
    assert written and not [file for file in written if SECRET.encode() in file.read_bytes()]


def test_a_wrong_token_is_refused(cluster, executor_of, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("0" * 64, encoding="ascii")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(UserErrorException, match="cannot be used") as caught:
        run(executor_of(SLOW), rows("a"), compute="ray://auto")
    assert "RAY_AUTH_TOKEN_PATH" in caught.value.hint


def test_the_time_of_the_batch_is_kept(cluster, executor_of):
    executor = executor_of("import time\n@tool\ndef node(x: str):\n    time.sleep(60)")
    with pytest.raises(BatchExecutionTimeoutError):
        run(executor, rows("a", "b"), compute="ray://auto", batch_timeout=15)


def test_ctrl_c_finishes_what_has_begun(cluster, executor_of):
    first = threading.Event()
    threading.Thread(target=lambda: first.wait() and os.kill(os.getpid(), signal.SIGINT)).start()
    results, finished = run(
        executor_of(SLOW), rows(*(str(n) for n in range(2000))), done=first.set, compute="ray://auto"
    )
    assert not finished
    assert 0 < len(results) < 2000
    assert not results.errors()


def test_a_killed_node_costs_nothing(cluster, executor_of):
    ended = threading.Semaphore(0)
    killed = threading.Thread(target=lambda: [ended.acquire() for _ in range(40)] and cluster.do("kill"))
    killed.start()
    letters = [f"x{n}" for n in range(400)]
    results, finished = run(executor_of(SLOW), rows(*letters), done=ended.release, compute="ray://auto")
    killed.join()
    assert finished
    assert {n: r.output["o"] for n, r in results.items()} == {n: f"X{n}" for n in range(400)}


def test_ray_that_is_killed_ends_the_batch_with_a_reason(executor_of, monkeypatch):
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")  # it is a minute

    def kill():
        folder = own_folder().encode()
        for pid, text in processes().items():
            if b"gcs_server" in text.split(b"\0")[0] and folder in text:
                os.kill(pid, signal.SIGKILL)

    executor = executor_of("import time\n@tool\ndef node(x: str):\n    time.sleep(300 if x == 'b' else 0)")
    with pytest.raises(UserErrorException, match="Ray cluster ended"):
        run(executor, rows("a", "b"), done=kill, compute="ray", workers=1)
