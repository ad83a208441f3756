"""The mirror and the versions of huggingface_hub that people have: 0.36, 1.x, 2.x, each in a venv of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.mirror.access import WRITE, Tokens
from catalog.registry import Registry
from promptflow.workspace import Workspace
from tests.catalog.mirror_server import pulled, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

BIG = os.urandom((3 << 20) + 5)
VERSIONS = {"0.36": "huggingface_hub==0.36.*", "1.x": "huggingface_hub>=1.31,<2", "2.x": "huggingface_hub>=2,<3"}
PROGRAM = """
import pathlib, sys
import huggingface_hub as hub
api, place, name = hub.HfApi(), pathlib.Path(sys.argv[1]), sys.argv[2]
assert api.whoami()["name"] == "writer"
found = api.model_info("org/small", files_metadata=True)
assert found.sha and {s.rfilename for s in found.siblings} == {"config.json", "sub/w.bin"}, found
assert [s.lfs.size for s in found.siblings if s.lfs]
assert {i.path for i in api.list_repo_tree("org/small", recursive=True, expand=True)} == {"config.json", "sub", "sub/w.bin"}
assert [i.path for i in api.get_paths_info("org/small", ["sub/w.bin", "no"])] == ["sub/w.bin"]
assert api.list_repo_refs("org/small").branches[0].target_commit == found.sha
assert len(list(api.list_models(search="model-"))) == 5
there = pathlib.Path(hub.snapshot_download("org/small", cache_dir=place / "cache"))
big = (there / "sub/w.bin").read_bytes()
try:
    hub.hf_hub_download("org/small", "tokenizer.model", cache_dir=place / "cache")
except hub.utils.EntryNotFoundError:
    pass
new = place / "new"
(new / "sub").mkdir(parents=True)
(new / "README.md").write_text("---\\nlicense: mit\\n---\\n")
(new / "sub/w.bin").write_bytes(big + sys.version.encode())
api.create_repo(name, exist_ok=True)
done = api.upload_folder(folder_path=new, repo_id="workspace/" + name)
assert api.model_info("workspace/" + name).sha == done.oid
api.upload_file(path_or_fileobj=b"more", path_in_repo="notes.txt", repo_id="workspace/" + name, revision="candidate")
again = pathlib.Path(hub.snapshot_download("workspace/" + name, cache_dir=place / "cache"))
assert (again / "sub/w.bin").read_bytes() == big + sys.version.encode() and (again / "notes.txt").is_file()
print(hub.__version__)
"""


@pytest.fixture(scope="session")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Python for each version; skips where packages cannot be had. ``PF_TEST_CLIENTS`` names a folder to keep them."""
    kept = os.environ.get("PF_TEST_CLIENTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("clients")
    made = {}
    for version, requirement in VERSIONS.items():
        made[version] = folder / version / "bin" / "python"
        if made[version].exists():
            continue
        for argv in (
            [sys.executable, "-m", "venv", str(folder / version)],
            [str(made[version]), "-m", "pip", "install", "-q", requirement],
        ):
            done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
            if done.returncode:
                pytest.skip(f"huggingface_hub {version} cannot be installed: {done.stderr.strip()[-300:]}")
    return made


@pytest.fixture
def workspace(home: Path) -> Iterator[Workspace]:
    with Workspace.open(home) as opened:
        yield opened


@pytest.mark.parametrize("xet", ["with xet", "without xet"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_reads_and_writes(
    pythons: dict[str, Path],
    workspace: Workspace,
    tmp_path: Path,
    version: str,
    xet: str,
) -> None:
    cache = tmp_path / "hub"
    pulled(cache, "org/small", {"config.json": b"{}", "sub/w.bin": BIG})
    for number in range(5):
        pulled(cache, f"org/model-{number}", {"config.json": b"{}"})
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": Tokens(workspace).create("writer", WRITE), "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1" if xet == "without xet" else "0",
    }  # fmt: skip
    with serving(workspace, cache) as url:
        environment["HF_ENDPOINT"] = url

        def run(*argv: object) -> str:
            done = subprocess.run([*map(str, argv)], env=environment, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        python = pythons[version]
        assert run(python, "-c", PROGRAM, tmp_path / "client", "mine").startswith(version.removesuffix("x"))
        program = python.with_name("hf")
        run(program, "download", "org/small", "--local-dir", tmp_path / "out")
        run(program, "upload", "other", tmp_path / "out", ".", "--exclude", ".cache/*")
    registry = Registry(workspace)
    assert (tmp_path / "out/sub/w.bin").read_bytes() == BIG
    assert registry.get("mine@candidate").version == registry.get("mine").version == "2"
    assert {file.path for file in registry.files(registry.get("other"))} == {"config.json", "sub/w.bin"}
