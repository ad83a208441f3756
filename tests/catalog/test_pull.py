"""Pulling models: what is taken, what is asked, how it lies on the disk; and hubs that lie."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.consents import CODE, LICENCE, PICKLE, Consents
from catalog.formats import Wanted
from catalog.hub import Hub
from catalog.huberrors import HubError, HubGatedError, HubNotFoundError, HubTokenError
from catalog.local import LocalModels
from catalog.parts import CHUNK
from catalog.prune import Pruning
from catalog.pull import DiskSpaceError, LicenceError, Puller
from catalog.transfer import WrongHashError
from catalog.verify import verify
from promptflow.exceptions import PromptflowException, ValidationException, WorkspaceError
from promptflow.workspace import Workspace
from tests.hub_server import HubServer, Repo, serving

hub_client = pytest.importorskip("huggingface_hub")

WEIGHTS = bytes(range(256)) * 256 * 20  # 1.25 MiB: two chunks
FILES: dict[str, bytes | Path] = {
    "config.json": b'{"model_type": "llama"}',
    "README.md": b"# Small",
    "tokenizer.json": b"{}" * 10,
    "model.safetensors": WEIGHTS,
    "sub/deep/extra.json": b"[]",
    "pytorch_model.bin": b"pickle" * 20000,
    "modeling_small.py": b"print('code')",
    "picture.png": b"png",
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving({"acme/small": Repo(dict(FILES), facts={"cardData": {"license": "mit"}})}) as server:
        server.tokens = {"good": "ann", "other": "bob"}
        yield server


@pytest.fixture
def models(tmp_path: Path) -> LocalModels:
    return LocalModels(tmp_path / "hub")


@pytest.fixture
def puller(server: HubServer, models: LocalModels, home: Path) -> Iterator[Puller]:
    with Workspace.open(home) as workspace:
        yield Puller(workspace, Hub(server.url, token=False), models)


def pull(puller: Puller, id: str = "acme/small", revision: str | None = None, **wanted: Any):
    return puller.pull(puller.plan(id, revision, Wanted(**wanted)), accept=True)


def names(model: Any) -> list[str]:
    return [file.name for file in model.files]


def test_a_pulled_model_is_where_huggingface_hub_looks(puller: Puller, server: HubServer, models: LocalModels) -> None:
    model = pull(puller)
    assert names(model) == ["README.md", "config.json", "model.safetensors", "sub/deep/extra.json", "tokenizer.json"]
    assert (model.sha, model.refs) == (server.repos["acme/small"].sha, ("main",))
    asked = len(server.asked)
    cache = dict(cache_dir=models.folder, local_files_only=True)
    folder = Path(hub_client.snapshot_download("acme/small", **cache))
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub_client.hf_hub_download("acme/small", "sub/deep/extra.json", **cache).endswith("extra.json")
    (repo,) = hub_client.scan_cache_dir(models.folder).repos
    assert (repo.repo_id, repo.size_on_disk, [r.commit_hash for r in repo.revisions]) == (
        "acme/small", model.size, [model.sha]
    )  # fmt: skip
    assert len(server.asked) == asked


def test_what_huggingface_hub_pulled_is_not_fetched_again(
    puller: Puller, server: HubServer, models: LocalModels
) -> None:
    hub_client.hf_hub_download(
        "acme/small", "model.safetensors", cache_dir=models.folder, endpoint=server.url, token=False
    )
    server.sent.clear()
    assert puller.plan("acme/small").fetch == sum(len(FILES[n]) for n in FILES if n.endswith((".json", ".md")))  # type: ignore[arg-type]
    pull(puller)
    assert "/acme/small/model.safetensors" not in server.sent


def test_a_second_pull_asks_for_no_file(puller: Puller, server: HubServer) -> None:
    first = pull(puller)
    server.sent.clear()
    assert puller.plan("acme/small").fetch == 0
    assert pull(puller) == first and not server.sent


def test_a_revision_is_a_commit(puller: Puller, server: HubServer) -> None:
    repo = server.repos["acme/small"]
    repo.refs["v1"] = repo.sha
    assert pull(puller, revision="v1").refs == ("v1",)
    assert pull(puller, revision=repo.sha).refs == ("v1",)
    assert all(f"/resolve/{repo.sha}/" in path for path in server.paths("/resolve/"))
    with pytest.raises(HubNotFoundError, match="no revision v2"):
        pull(puller, revision="v2")


def test_one_copy_of_a_blob_over_models_and_revisions(puller: Puller, server: HubServer, models: LocalModels) -> None:
    old = pull(puller)
    server.repos["acme/small"] = Repo({**FILES, "config.json": b'{"new": 1}'})
    server.repos["acme/twin"] = Repo({"model.safetensors": WEIGHTS, "config.json": b"{}"})
    server.sent.clear()
    new, twin = pull(puller), pull(puller, "acme/twin")
    assert sorted(server.sent) == ["/acme/small/config.json", "/acme/twin/config.json"]
    blobs = {model.folder.joinpath("model.safetensors").resolve().stat().st_ino for model in (old, new, twin)}
    assert len(blobs) == 1
    assert models.remove("acme/small") < len(WEIGHTS)
    assert twin.folder.joinpath("model.safetensors").read_bytes() == WEIGHTS


def test_a_damaged_blob_of_another_model_is_not_taken(puller: Puller, server: HubServer) -> None:
    blob = pull(puller).folder.joinpath("model.safetensors").resolve()
    blob.write_bytes(b"x" * len(WEIGHTS))
    server.repos["acme/twin"] = Repo({"model.safetensors": WEIGHTS})
    assert pull(puller, "acme/twin").folder.joinpath("model.safetensors").read_bytes() == WEIGHTS


def test_verify_tells_what_is_damaged(puller: Puller) -> None:
    model = pull(puller)
    assert {checked.state for checked in verify(model)} == {"ok"}
    (model.folder / "model.safetensors").resolve().write_bytes(b"x" * len(WEIGHTS))
    (model.folder / "config.json").resolve().unlink()
    (model.folder / "own.txt").write_text("laid here by hand")
    states = {checked.name: checked.state for checked in verify(puller.models.get("acme/small"))}
    assert states["model.safetensors"] == "damaged" and states["README.md"] == "ok"
    assert states["config.json"] == "missing" and states["own.txt"] == "unknown"


def test_pickles_and_code_need_a_word_that_is_kept(puller: Puller, server: HubServer, home: Path) -> None:
    server.repos["acme/small"] = Repo({n: c for n, c in FILES.items() if "safetensors" not in n})
    with pytest.raises(ValidationException, match="pickles, which can run any code") as caught:
        puller.plan("acme/small")
    assert "--allow-pickle" in caught.value.hint
    plan = puller.plan("acme/small", wanted=Wanted(pickle=True, code=True))
    assert set(plan.asks) == {PICKLE, CODE}
    assert "pytorch_model.bin" in names(puller.pull(plan, accept=True))
    consents = Consents(Workspace.open(home)).of("acme/small")
    assert [(c.what, c.facts["sha"]) for c in consents] == [(w, server.repos["acme/small"].sha) for w in (PICKLE, CODE)]
    assert puller.plan("acme/small").asks == {}


@pytest.mark.parametrize("card", [{"license": "cc-by-nc-4.0"}, {"license": "other", "license_name": "own-1"}])
def test_a_licence_with_conditions_is_accepted_once(puller: Puller, server: HubServer, card: dict[str, str]) -> None:
    server.repos["acme/small"].facts = {"cardData": card}
    plan = puller.plan("acme/small")
    assert card.get("license_name", card["license"]) in plan.asks[LICENCE]
    with pytest.raises(LicenceError, match="was not accepted yet") as caught:
        puller.pull(plan)
    assert "--accept-licence" in caught.value.hint and not server.sent
    puller.pull(plan, accept=True)
    assert puller.plan("acme/small").asks == {}
    server.repos["acme/small"].facts = {"cardData": {"license": "other", "license_name": "own-2"}}
    assert LICENCE in puller.plan("acme/small").asks


def test_a_gated_model_is_checked_before_a_byte_is_fetched(puller: Puller, server: HubServer) -> None:
    server.repos["acme/small"].gated = "manual"
    server.repos["acme/small"].readers = ("good",)
    for token, error in ((False, HubGatedError), ("other", HubGatedError), ("revoked", HubTokenError)):
        puller.hub = Hub(server.url, token)
        with pytest.raises(error):
            puller.plan("acme/small")
    assert not server.sent
    puller.hub = Hub(server.url, "good")
    assert pull(puller).id == "acme/small"


def test_a_token_that_is_revoked_while_pulling(puller: Puller, server: HubServer) -> None:
    server.repos["acme/small"].gated = "auto"
    server.repos["acme/small"].readers = ("good",)
    puller.hub = Hub(server.url, "good")
    plan = puller.plan("acme/small")
    server.tokens = {}
    with pytest.raises(HubTokenError, match="does not let this token read"):
        puller.pull(plan, accept=True)


@pytest.mark.parametrize(
    "name",
    ["../evil.json", "/etc/evil.json", "a/../../evil.json", "a//b.json", "./a.json", "a\\..\\b.json", "x\0.json",
     "a\x1b[2J.json", "..", "config.json/evil.json", "n" * 300 + ".json", ""],
)  # fmt: skip
def test_names_that_lead_out(puller: Puller, server: HubServer, tmp_path: Path, name: str) -> None:
    server.repos["acme/small"] = Repo({**FILES, name: b"evil"})
    before = {path for path in tmp_path.rglob("*")}
    with pytest.raises(ValidationException, match="leads out|twice"):
        puller.plan("acme/small")
    assert {path for path in tmp_path.rglob("*")} == before and not server.sent


@pytest.mark.parametrize(
    ("lies", "sha", "error"),
    [
        ({"sha256": "0" * 64}, "", WrongHashError),
        ({"sha256": "../../../evil"}, "", HubError),
        ({"size": len(WEIGHTS) - 1}, "", HubError),
        ({"size": 10**15}, "", DiskSpaceError),
        ({}, "../../evil", HubError),
    ],
)
def test_facts_that_lie(
    puller: Puller, server: HubServer, lies: dict[str, Any], sha: str, error: type[Exception]
) -> None:
    server.repos["acme/small"] = Repo(dict(FILES), lies={"model.safetensors": lies}, sha=sha)
    with pytest.raises(error):
        pull(puller)
    left = [path.name for path in puller.models.folder.rglob("*")]
    assert not puller.models.list() and not [name for name in left if "evil" in name or ".pf-" in name]


def test_a_link_in_the_cache_that_leads_out(puller: Puller, server: HubServer, tmp_path: Path) -> None:
    repo = puller.models.repo("acme/small")
    (tmp_path / "elsewhere").mkdir()
    snapshot = repo / "snapshots" / server.repos["acme/small"].sha
    snapshot.mkdir(parents=True)
    (snapshot / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValidationException, match="is a link to another place"):
        pull(puller)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_file_in_the_way_is_replaced_and_not_written_through(
    puller: Puller, server: HubServer, tmp_path: Path
) -> None:
    snapshot = puller.models.repo("acme/small") / "snapshots" / server.repos["acme/small"].sha
    snapshot.mkdir(parents=True)
    (tmp_path / "victim").write_text("mine")
    (snapshot / "config.json").symlink_to(tmp_path / "victim")
    model = pull(puller)
    assert (tmp_path / "victim").read_text() == "mine"
    assert (model.folder / "config.json").read_bytes() == FILES["config.json"]


def test_only_what_was_asked_for(puller: Puller, server: HubServer) -> None:
    server.repos["acme/many"] = Repo(
        {"config.json": b"{}", "m-Q4_K_M.gguf": b"4", "m-Q8_0-00001-of-00002.gguf": b"81", "m-Q8_0-00002-of-00002.gguf": b"82",
         "mmproj-f16.gguf": b"see"}
    )  # fmt: skip
    plan = puller.plan("acme/many")
    assert [f.name for f in plan.choice.taken] == ["config.json", "mmproj-f16.gguf", "m-Q4_K_M.gguf"]
    assert plan.choice.notes == ("of 2 sizes, m-Q4_K_M.gguf; another: --include '*Q8_0*'",)
    chosen = puller.plan("acme/many", wanted=Wanted(include=("*Q8_0*",))).choice.taken
    assert [f.name for f in chosen] == ["config.json", "m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"]
    with pytest.raises(ValidationException, match="No file is called"):
        puller.plan("acme/many", wanted=Wanted(include=("*Q2*",)))
    with pytest.raises(ValidationException, match="has no onnx weights"):
        puller.plan("acme/many", wanted=Wanted(format="onnx"))


def test_weights_are_taken_once(puller: Puller, server: HubServer) -> None:
    server.repos["acme/twice"] = Repo(
        {"model.safetensors": b"1", "consolidated.safetensors": b"1", "original/model.safetensors": b"1",
         "onnx/model.onnx": b"1", "m.gguf": b"1", "tf_model.h5": b"1"}
    )  # fmt: skip
    plan = puller.plan("acme/twice")
    assert [f.name for f in plan.choice.taken] == ["model.safetensors"]
    assert {why: len(files) for why, files in plan.choice.left_out.items()} == {"other formats": 4, "pickle": 1}
    assert [f.name for f in puller.plan("acme/twice", wanted=Wanted(format="onnx")).choice.taken] == ["onnx/model.onnx"]


def test_progress_counts_every_byte_once(puller: Puller) -> None:
    plan, counted = puller.plan("acme/small"), []
    puller.pull(plan, progress=counted.append)
    assert sum(counted) == plan.size and max(counted) <= CHUNK


def test_errors_say_what_to_do(puller: Puller, server: HubServer) -> None:
    server.repos["acme/small"].lies = {"model.safetensors": {"size": 10**15}}
    with pytest.raises(DiskSpaceError, match=r"needs 1000.0 TB more on the disk of .*, where .* are free") as caught:
        puller.plan("acme/small")
    assert "HF_HOME" in caught.value.hint and isinstance(caught.value, PromptflowException)


def test_blobs_are_what_git_and_sha256_say(puller: Puller) -> None:
    for file in pull(puller).files:
        data = file.path.read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        assert file.blob == (hashlib.sha256(data).hexdigest() if file.size >= 1 << 16 else git)
        assert not os.path.isabs(os.readlink(file.path))


def test_a_cache_that_cannot_be(puller: Puller, models: LocalModels) -> None:
    models.folder.parent.mkdir(exist_ok=True)
    models.folder.write_text("a file")
    with pytest.raises(WorkspaceError, match="Cannot create") as caught:
        pull(puller)
    assert "HF_HOME" in caught.value.hint


def test_what_prune_is_about_to_delete_is_kept_by_a_pull(
    puller: Puller, server: HubServer, models: LocalModels, home: Path
) -> None:
    """The blobs are all here, old, and linked to by nothing; prune looks just before the pull links to them."""
    before = pull(puller)
    shutil.rmtree(before.folder.parent)
    for blob in (models.repo("acme/small") / "blobs").iterdir():
        os.utime(blob, (0, 0))

    class Late(Puller):
        def _fetch(self, *args: Any) -> None:
            super()._fetch(*args)
            with Workspace.open(home) as workspace:
                assert Pruning(workspace, models).remove() == 0

    server.sent.clear()
    with Workspace.open(home) as workspace:
        model = pull(Late(workspace, puller.hub, models))
    assert names(model) == names(before) and not server.sent
    assert (model.folder / "model.safetensors").read_bytes() == WEIGHTS
