import io
import os
import signal
import subprocess
import sys
import time

import pytest

from promptflow.client import PFClient
from promptflow.client.follow import LogTail
from promptflow.exceptions import InvalidRunStatusError

WAITING = """
import os, time
from promptflow.core import tool

@tool
def echo(x: str):
    while not os.path.exists("go"):
        time.sleep(0.01)
    return x
"""


@pytest.fixture
def going(client, echo, data, folder):
    """A run in a process of its own, which goes on until there is a file `go` in the flow's folder."""
    (echo / "a.py").write_text(WAITING)
    words = ["run", "create", "--flow", str(echo), "--data", str(data("1", "2")), "--name", "r", "--cache", "off"]
    with subprocess.Popen(
        [sys.executable, "-m", "promptflow", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        while not [run for run in client.runs.list() if run.status == "Running"]:
            assert process.poll() is None
            time.sleep(0.02)
        yield process
        process.kill()


def test_a_run_in_another_process_is_followed_to_its_end(going, client, echo):
    with subprocess.Popen(
        [sys.executable, "-m", "promptflow", "run", "stream", "-n", "r"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as follower:
        (echo / "go").touch()
        out, err = follower.communicate(timeout=60)
    assert '"status": "Completed"' in out
    assert "Finished 2 / 2 lines" in err
    assert 'Run status: "Completed"' in err
    assert follower.returncode == 0


def test_following_ends_when_the_process_of_the_run_dies(going, client):
    os.kill(going.pid, signal.SIGKILL)
    file = io.StringIO()
    client.runs.stream("r", raise_on_error=False, file=file)
    assert "The process of run r ended before the run did." in file.getvalue()
    with pytest.raises(InvalidRunStatusError, match="ended before the run did"):
        client.runs.stream("r", file=file)


def test_the_log_is_printed_while_the_run_goes_on(client, echo, data, capsys):
    seen = []
    rows = [str(number) for number in range(40)]
    PFClient().run(
        flow=echo, data=data(*rows), stream=True, progress=lambda result: seen.append(capsys.readouterr().out)
    )
    assert "Finished 4 / 40 lines" in "".join(seen)
    assert 'Run status: "Completed"' in capsys.readouterr().out


def test_a_log_is_read_piece_by_piece(tmp_path):
    file = tmp_path / "logs.txt"
    tail = LogTail(file)
    assert tail.read() == ""
    file.write_bytes(b"one\ntw\xc3")
    assert tail.read() == "one\ntw"
    assert tail.read() == ""
    with file.open("ab") as stream:
        stream.write(b"\xb6\nthree\n")
    assert (tail.read(), tail.read()) == ("ö\nthree\n", "")
