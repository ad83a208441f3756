"""The wheel and the sdist: everything that is needed inside, nothing else."""

from __future__ import annotations

import email.parser
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from promptflow._version import __version__
from tests.packaging.environments import ROOT, sources

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PACKAGES = ("promptflow", "serve", "catalog")


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"promptflow-{__version__}.dist-info/METADATA").decode()
    return email.parser.Parser().parsestr(text)


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    assert set(sources(*PACKAGES)) - names_in(wheel) == set()


def test_the_wheel_holds_nothing_else(wheel):
    tops = {name.partition("/")[0] for name in names_in(wheel)}

    assert tops == {*PACKAGES, f"promptflow-{__version__}.dist-info"}


def test_the_wheel_of_the_sdist_is_the_same(wheel, built):
    from_sdist = next((built / "from-sdist").glob("*.whl"))

    assert names_in(from_sdist) == names_in(wheel)


def test_the_sdist_holds_the_packages_and_what_describes_them(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    tops = {name.partition("/")[0] for name in inside} - {""}

    assert {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml"} <= tops
    assert tops.isdisjoint({"tests", "examples", "docs", "benchmarks", "build"})


def test_the_metadata_says_what_pyproject_says(wheel):
    found = metadata(wheel)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert (found["Name"], found["Version"]) == ("promptflow", __version__)
    assert (found["License-Expression"], found["License-File"]) == ("MIT", "LICENSE")
    assert found["Requires-Python"] == ">=3.11"
    assert set(found.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    assert str(found.get_payload()).strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_there_is_one_command_and_its_name_is_pf(wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"promptflow-{__version__}.dist-info/entry_points.txt").decode()

    assert text.split() == ["[console_scripts]", "pf", "=", "promptflow.cli.main:program"]
