"""Folders with odd names, links, includes and archives that reach outside."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from tests.robustness.conftest import Pf, flow, rows


@pytest.mark.parametrize(
    "name", ["flow é日本", "with space", "q'uote\"", "n" * 200, "dollar$HOME", "per%20cent", "new\nline", "a#b", "a:b"]
)
def test_folders_may_have_any_name(folder: Path, pf: Pf, name: str) -> None:
    flow(folder / name)
    rows(folder / "d.jsonl", "1")
    assert pf("flow", "test", "--flow", name, "--inputs", "x=1").json() == {"o": "1"}
    assert pf("run", "create", "--flow", name, "--data", "d.jsonl").json()["status"] == "Completed"


def test_links_in_and_to_a_flow(folder: Path, pf: Pf) -> None:
    flow(folder / "f")
    rows(folder / "d.jsonl", "1")
    (folder / "f" / "me").symlink_to(".")
    (folder / "f" / "dangling").symlink_to("/nowhere")
    os.mkfifo(folder / "f" / "pipe")
    (folder / "link").symlink_to("f")
    assert pf("run", "create", "--flow", "link", "--data", "d.jsonl").code == 0
    assert pf("migrate", "check", "f").code == 0


def test_an_archive_that_points_outside_is_refused(folder: Path, pf: Pf) -> None:
    flow(folder / "a" / "f", more="additional_includes:\n- ../../evil.zip\n")
    with zipfile.ZipFile(folder / "evil.zip", "w") as archive:
        archive.writestr("../escaped.txt", "x")
    assert pf("flow", "test", "--flow", "a/f", "--inputs", "x=1").is_clear_error("points outside its folder")
    assert not list(folder.rglob("escaped.txt"))


def test_a_link_in_an_archive_leads_nowhere(folder: Path, pf: Pf) -> None:
    flow(folder / "a" / "f", more="additional_includes:\n- ../../evil.zip\n")
    (folder / "victim").mkdir()
    with zipfile.ZipFile(folder / "evil.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(folder / "victim"))
        archive.writestr("link/escaped.txt", "x")
    assert pf("flow", "test", "--flow", "a/f", "--inputs", "x=1").is_clear_error("cannot be unpacked", "evil.zip")
    assert not list((folder / "victim").iterdir())


@pytest.mark.parametrize(
    ("include", "words"),
    [
        ("../nope", ["Unable to find additional include ../nope", "hint: looked for"]),
        ("../torn.zip", ["torn.zip cannot be unpacked"]),
        ("/", ["holds the folder that flows are copied to"]),
        ('"\\0x"', ["is no path"]),
    ],
)
def test_includes_that_cannot_be(folder: Path, pf: Pf, include: str, words: list[str]) -> None:
    (folder / "torn.zip").write_bytes(b"PK no zip")
    flow(folder / "f", more=f"additional_includes:\n- {include}\n")
    assert pf("flow", "test", "--flow", "f", "--inputs", "x=1").is_clear_error(*words)


@pytest.mark.parametrize("path", ["../../../../etc/passwd", "/etc/passwd", ".", "nope.py", "a\\\\b.py"])
def test_sources_that_are_no_python(folder: Path, pf: Pf, path: str) -> None:
    flow(folder / "f")
    file = folder / "f" / "flow.dag.yaml"
    file.write_text(file.read_text().replace("path: a.py", f'path: "{path}"'))
    assert pf("flow", "test", "--flow", "f", "--inputs", "x=1").is_clear_error("  at ")
