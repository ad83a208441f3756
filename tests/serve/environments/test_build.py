"""Environments that are really made, of a wheel that a fixture makes: nothing is fetched."""

import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serve.endpoints.spec import SCRIPT, EnvironmentSpec, Spec
from serve.environments.build import EnvironmentFailedError, Environments, _not_compiled
from tests.serve.scorers.workers import worker


@pytest.fixture
def wheel(tmp_path):
    """A package of one module that shadows one of this program's own environment."""
    path = tmp_path / "tabulated-9.9-py3-none-any.whl"
    files = {
        "tabulated.py": "NAME = 'of the venv'",
        "tabulated-9.9.dist-info/METADATA": "Metadata-Version: 2.1\nName: tabulated\nVersion: 9.9\n",
        "tabulated-9.9.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tabulated-9.9.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_an_instance_runs_in_an_environment_of_its_own(wheel, tmp_path):
    environments, said = Environments(tmp_path / "home"), []
    spec = EnvironmentSpec(conda={"dependencies": ["python=3.8", {"pip": [str(wheel), "azureml-defaults"]}]})
    assert environments.there(spec) is None
    python = environments.make(spec, said.append)
    assert python != Path(sys.executable) and environments.there(spec) == python
    assert any("Python 3.8 was asked for" in line for line in said)
    assert any("azureml-defaults is left out" in line for line in said)
    again = []
    assert environments.make(spec, again.append) == python and again == []

    code = tmp_path / "code"
    code.mkdir()
    text = "import tabulated, sys, orjson\ndef run(raw): return [tabulated.NAME, sys.prefix, raw]"
    (code / "score.py").write_text(text)
    deployed = Spec(SCRIPT, code=code, scoring_script="score.py", environment=spec)
    with worker(tmp_path / "w", deployed, python=str(python)) as blue:
        assert blue.score(1).json() == ["of the venv", str(python.parents[1]), "1"]


def test_two_at_once_make_it_once(wheel, tmp_path):
    spec, said = EnvironmentSpec(requirements=(str(wheel),)), []
    with ThreadPoolExecutor(2) as pool:
        made = [Environments(tmp_path / "home") for _ in range(2)]
        pythons = list(pool.map(lambda one: one.make(spec, said.append), made))
    assert pythons[0] == pythons[1] and said == ["making an environment of 1 package"]


def test_what_pip_refuses_is_told_and_leaves_nothing(tmp_path):
    environments = Environments(tmp_path / "home")
    spec = EnvironmentSpec(requirements=(str(tmp_path / "nothing-1.0-py3-none-any.whl"),))
    with pytest.raises(EnvironmentFailedError, match="pip ended with 1(.|\n)*nothing-1.0") as raised:
        environments.make(spec, print)
    assert Path(str(raised.value.hint).rpartition(" ")[2]).read_text()
    assert environments.there(spec) is None
    assert not [folder for folder in (tmp_path / "home" / "environments").iterdir() if folder.is_dir()]


def test_a_package_that_cannot_be_compiled_is_named(tmp_path):
    source = tmp_path / "old"
    source.mkdir()
    lines = ["[build-system]", "requires = []", 'build-backend = "old"', 'backend-path = ["."]']
    (source / "pyproject.toml").write_text("\n".join(lines))
    (source / "old.py").write_text("raise SystemExit('no compiler')")
    with pytest.raises(EnvironmentFailedError) as raised:
        Environments(tmp_path / "home").make(EnvironmentSpec(requirements=(str(source),)), print)
    assert str(raised.value.hint).startswith(f"{source} has no wheel for Python 3.")
    said = "Collecting a==1\n  Downloading a\nERROR: Failed building wheel for a\n"
    assert _not_compiled(said) == "a"


def test_an_environment_that_was_killed_half_way_is_made_anew(wheel, tmp_path):
    environments = Environments(tmp_path / "home")
    spec = EnvironmentSpec(requirements=(str(wheel),))
    python = environments.make(spec, print)
    (python.parents[1] / "ready.json").unlink()
    (python.parents[1] / "bin" / "python").unlink()
    assert environments.there(spec) is None
    assert environments.make(spec, print).exists()


def test_nothing_asked_for_is_this_programs_own(tmp_path):
    environments = Environments(tmp_path / "home")
    for spec in (EnvironmentSpec(), EnvironmentSpec(conda={"dependencies": ["python=3.11", "pip"]})):
        assert environments.make(spec, print) == Path(sys.executable)


def test_it_is_compiled_whatever_pip_is_set_to(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_COMPILE", "1")
    python = Environments(tmp_path / "home").make(EnvironmentSpec(requirements=(str(wheel),)), print)
    assert [*python.parents[1].glob("lib/*/site-packages/__pycache__/tabulated.*.pyc")]
