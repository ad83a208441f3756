"""The mirror as real clients of the hub see it."""

from __future__ import annotations

import base64
import http.client
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.registry import Registry
from catalog.schemas import ModelSpec
from promptflow.workspace import Workspace
from tests import tiny_models
from tests.catalog.mirror_server import pulled, serving

hub = pytest.importorskip("huggingface_hub")
httpx = pytest.importorskip("httpx")

BIG = os.urandom((1 << 20) + 7)
CARD = b"---\nlicense: apache-2.0\nlanguage: [en]\ntags: [tiny]\npipeline_tag: text-generation\n---\n# A model\n"


@pytest.fixture
def workspace(home: Path) -> Iterator[Workspace]:
    with Workspace.open(home) as opened:
        yield opened


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that holds org/small with a large file, a folder and a card."""
    folder = tmp_path / "hub"
    files = {"README.md": CARD, "config.json": b'{"model_type": "x"}', "sub/dir/w.bin": BIG, "empty.txt": b""}
    pulled(folder, "org/small", files)
    return folder


@pytest.fixture
def url(workspace: Workspace, cache: Path) -> Iterator[str]:
    with serving(workspace, cache) as address:
        yield address


@pytest.fixture
def api(url: str) -> hub.HfApi:
    return hub.HfApi(endpoint=url, token=False)


def register(workspace: Workspace, folder: Path, name: str = "mine", **fields: object) -> None:
    Registry(workspace).create(ModelSpec(name, str(folder), **fields))  # type: ignore[arg-type]


def test_facts_of_a_pulled_model(api: hub.HfApi, cache: Path) -> None:
    found = api.model_info("org/small", files_metadata=True)
    sizes = {sibling.rfilename: sibling.size for sibling in found.siblings}
    assert sizes == {"README.md": len(CARD), "config.json": 19, "empty.txt": 0, "sub/dir/w.bin": len(BIG)}
    large = next(sibling for sibling in found.siblings if sibling.lfs)
    assert large.rfilename == "sub/dir/w.bin" and (cache / "models--org--small/blobs" / large.lfs.sha256).is_file()
    assert found.pipeline_tag == "text-generation" and found.card_data.license == "apache-2.0"
    assert {"tiny", "en", "license:apache-2.0"} <= {*found.tags} and found.config == {"model_type": "x"}
    assert api.model_info("org/small", revision=found.sha).sha == found.sha
    assert api.list_repo_files("org/small") == [*sizes]


def test_a_snapshot_is_downloaded_whole_and_a_second_time_not_at_all(url: str, tmp_path: Path) -> None:
    def download() -> Path:
        return Path(hub.snapshot_download("org/small", endpoint=url, cache_dir=tmp_path / "there", token=False))

    folder = download()
    assert (folder / "sub/dir/w.bin").read_bytes() == BIG and (folder / "README.md").read_bytes() == CARD
    assert (folder / "empty.txt").read_bytes() == b""
    before = (folder / "sub/dir/w.bin").stat()
    assert download() == folder and (folder / "sub/dir/w.bin").stat().st_mtime_ns == before.st_mtime_ns


def test_trees_and_paths(api: hub.HfApi) -> None:
    top = {item.path: item for item in api.list_repo_tree("org/small")}
    assert [*top] == ["README.md", "config.json", "empty.txt", "sub"]
    assert [item.path for item in api.list_repo_tree("org/small", "sub", recursive=True)] == [
        "sub/dir",
        "sub/dir/w.bin",
    ]
    every = [*api.list_repo_tree("org/small", recursive=True, expand=True)]
    assert len(every) == 6 and every[-1].lfs.size == len(BIG) and every[0].last_commit.oid
    paths = api.get_paths_info("org/small", ["sub", "config.json", "not there"])
    assert [item.path for item in paths] == ["sub", "config.json"]
    with pytest.raises(hub.errors.RemoteEntryNotFoundError):
        [*api.list_repo_tree("org/small", "nowhere")]


def test_refs_commits_and_revisions_with_slashes(workspace: Workspace, cache: Path, tmp_path: Path) -> None:
    sha = pulled(cache, "org/small", {"config.json": b"{}"}, branch="main")
    (cache / "models--org--small/refs/refs/pr").mkdir(parents=True)
    (cache / "models--org--small/refs/refs/pr/1").write_text(sha)
    with serving(workspace, cache) as url:
        api = hub.HfApi(endpoint=url, token=False)
        assert {ref.name: ref.target_commit for ref in api.list_repo_refs("org/small").branches}["main"] == sha
        assert api.model_info("org/small", revision="refs/pr/1").sha == sha
        file = hub.hf_hub_download(
            "org/small", "config.json", revision="refs/pr/1", endpoint=url, cache_dir=tmp_path / "c", token=False
        )
        assert Path(file).read_bytes() == b"{}"
        assert [commit.commit_id for commit in api.list_repo_commits("org/small")][0] == sha


@pytest.mark.parametrize(
    ("id", "revision", "error"),
    [
        ("org/nothing", None, "RepositoryNotFoundError"),
        ("workspace/nothing", None, "RepositoryNotFoundError"),
        ("org/small", "nowhere", "RevisionNotFoundError"),
        ("org/small", "0" * 40, "RevisionNotFoundError"),
    ],
)
def test_what_is_not_here(api: hub.HfApi, id: str, revision: str | None, error: str) -> None:
    with pytest.raises(getattr(hub.errors, error)):
        api.model_info(id, revision=revision)
    with pytest.raises(getattr(hub.errors, error)):
        api.hf_hub_download(id, "config.json", revision=revision)


def test_a_file_that_is_not_here(api: hub.HfApi, tmp_path: Path) -> None:
    with pytest.raises(hub.errors.EntryNotFoundError):
        api.hf_hub_download("org/small", "tokenizer.model", cache_dir=tmp_path / "c")
    assert not api.file_exists("org/small", "tokenizer.model") and api.file_exists("org/small", "config.json")


def test_parts_of_files(url: str) -> None:
    place = f"{url}/org/small/resolve/main/sub/dir/w.bin"
    head = httpx.head(place)
    assert head.headers["content-length"] == str(len(BIG)) and head.headers["accept-ranges"] == "bytes"
    assert head.headers["etag"].strip('"') == head.headers["x-linked-etag"].strip('"')
    assert len(head.headers["x-repo-commit"]) == 40
    part = httpx.get(place, headers={"Range": "bytes=1000-1999"})
    assert part.status_code == 206 and part.content == BIG[1000:2000]
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(BIG)}"
    assert httpx.get(place, headers={"Range": "bytes=-5"}).content == BIG[-5:]
    assert httpx.get(place, headers={"Range": f"bytes={len(BIG)}-"}).status_code == 416
    wanted = {"Range": "bytes=1000-1999", "Want-Content-Digest": "adler=5"}
    summed = httpx.get(place, headers=wanted)
    digest = base64.b64encode(zlib.adler32(BIG[1000:2000]).to_bytes(4, "big")).decode()
    assert summed.content == BIG[1000:2000] and summed.headers["content-digest"] == f"adler=:{digest}:"
    told = httpx.head(place, headers=wanted)
    assert told.content == b"" and told.headers["content-digest"] == f"adler=:{digest}:"


@pytest.mark.parametrize(
    "path",
    [
        "/org/small/resolve/main/../../../../../etc/passwd",
        "/org/small/resolve/main/..%2F..%2F..%2F..%2Fetc%2Fpasswd",
        "/org/small/resolve/..%2F..%2F/blobs/x",
        "/..%2Forg/small/resolve/main/config.json",
        "/org/small/resolve/main/%00",
        "/api/models/org/small/tree/main/..%2f..%2f",
        "/api/models/..%2f..%2fetc",
        "/api/spaces/org/small",
        "/api/agent-harnesses",
        "/",
    ],
)
def test_paths_that_lead_nowhere(url: str, path: str) -> None:
    host, port = url.removeprefix("http://").split(":")

    connection = http.client.HTTPConnection(host, int(port))  # sends paths as they are
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 404 and b"error" in answer.read()
    connection.close()


def test_a_link_out_of_the_cache_is_not_served(url: str, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    snapshot = next((cache / "models--org--small/snapshots").iterdir())
    (snapshot / "link.json").symlink_to(tmp_path / "secret")
    assert httpx.get(f"{url}/org/small/resolve/main/link.json").status_code == 404


def test_searches_go_page_by_page(workspace: Workspace, cache: Path) -> None:
    for number in range(7):
        pulled(cache, f"org/model-{number}", {"config.json": b"{}"})
    with serving(workspace, cache) as url:
        api = hub.HfApi(endpoint=url, token=False)
        assert len([*api.list_models()]) == 8
        assert [model.id for model in api.list_models(search="SMALL")] == ["org/small"]
        assert [model.id for model in api.list_models(filter="license:apache-2.0")] == ["org/small"]
        assert [model.id for model in api.list_models(pipeline_tag="text-generation")] == ["org/small"]
        assert [*api.list_models(author="nobody")] == []
        first = httpx.get(f"{url}/api/models?limit=3&search=model")
        assert len(first.json()) == 3 and "next" in first.links
        ids = {one["id"] for one in first.json()}
        while "next" in first.links:
            first = httpx.get(first.links["next"]["url"])
            ids |= {one["id"] for one in first.json()}
        assert ids == {f"org/model-{number}" for number in range(7)}
        assert httpx.get(f"{url}/api/models?limit=x").status_code == 400
        assert httpx.get(f"{url}/api/models?cursor=%21").status_code == 400


def test_registered_models_by_version_and_alias(workspace: Workspace, cache: Path, tmp_path: Path) -> None:
    folder = tiny_models.decoder(tmp_path / "model")
    register(workspace, folder, aliases=("champion",), tags={"team": "a"})
    (folder / "notes.txt").write_text("second")
    register(workspace, folder, description="The second")
    with serving(workspace, cache) as url:
        api = hub.HfApi(endpoint=url, token=False)
        newest = api.model_info("workspace/mine", files_metadata=True)
        assert "notes.txt" in [sibling.rfilename for sibling in newest.siblings]
        assert newest.safetensors.total > 10_000 and newest.library_name == "transformers"
        first = api.model_info("workspace/mine", revision="1")
        assert api.model_info("workspace/mine", revision="champion").sha == first.sha != newest.sha
        assert "team:a" in first.tags
        found = api.list_repo_refs("workspace/mine")
        assert {ref.name for ref in found.tags} == {"1", "2"} and {ref.name for ref in found.branches} == {
            "main",
            "champion",
        }
        assert [commit.title for commit in api.list_repo_commits("workspace/mine")] == ["The second", "Version 1"]
        there = Path(
            hub.snapshot_download("workspace/mine", revision="1", endpoint=url, cache_dir=tmp_path / "c", token=False)
        )
        assert (there / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
        assert {"workspace/mine", "org/small"} == {model.id for model in api.list_models()}


def test_hf_download(url: str, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    program = Path(sys.executable).with_name("hf")
    done = subprocess.run(
        [program, "download", "org/small", "--local-dir", tmp_path / "out"],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/sub/dir/w.bin").read_bytes() == BIG


def test_a_page_of_another_site_cannot_read_it_under_its_own_name(url: str) -> None:
    assert httpx.get(f"{url}/api/models", headers={"Host": "evil.example"}).status_code == 403
    assert httpx.get(f"{url}/api/models", headers={"Host": "localhost:80"}).status_code == 200


@pytest.mark.slow
def test_transformers_loads_a_registered_model_and_its_adapter(
    workspace: Workspace, cache: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    folder = tiny_models.decoder(tmp_path / "model")
    register(workspace, folder, "tiny")
    register(workspace, tiny_models.adapter(tmp_path / "lora", folder), "tiny-lora")
    program = (
        "import torch\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "from peft import PeftModel\n"
        "model = AutoModelForCausalLM.from_pretrained('workspace/tiny')\n"
        "tokens = AutoTokenizer.from_pretrained('workspace/tiny')('The quick', return_tensors='pt')\n"
        "print(len(model.generate(**tokens, max_new_tokens=4, do_sample=False)[0]) > 2)\n"
        "print(type(PeftModel.from_pretrained(model, 'workspace/tiny-lora')).__name__)\n"
    )
    with serving(workspace, cache) as url:
        environment = {
            **os.environ,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": url,
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=110
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "PeftModelForCausalLM"]
