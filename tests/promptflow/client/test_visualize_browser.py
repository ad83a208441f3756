"""The comparison page in a real browser: it shows the rows, and says nothing on the console."""

import os
import shutil
import subprocess

import pytest

from promptflow.client import PFClient
from tests.promptflow.flowkit import dag

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
YAML = """
inputs: {x: {type: string}}
outputs: {o: {type: string, reference: "${a.output}"}}
nodes:
- {name: a, type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}"}}
"""
CODE = "from promptflow.core import tool\n@tool\ndef a(x): return x.upper() if x != 'bad' else 1 / 0\n"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_shows_every_row_and_no_console_message(tmp_path):
    flow = dag(tmp_path / "flow", YAML, a_py=CODE)
    (tmp_path / "data.jsonl").write_text('{"x": "first"}\n{"x": "bad"}\n{"x": "</script><b>third"}\n')
    client = PFClient()
    runs = [client.run(flow, data=tmp_path / "data.jsonl", name=name) for name in ("one", "two")]
    client.runs.visualize(runs, html_path=tmp_path / "page.html")

    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=3000"]
    page = subprocess.run(
        [CHROMIUM, *flags, f"--user-data-dir={tmp_path}/profile", "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, "HOME": str(tmp_path)},
    )

    assert "FIRST" in page.stdout and "ZeroDivisionError" in page.stdout
    assert "&lt;/SCRIPT&gt;&lt;B&gt;THIRD" in page.stdout
    assert [line for line in page.stderr.splitlines() if "CONSOLE" in line] == []
