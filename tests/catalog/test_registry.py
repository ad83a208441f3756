"""The registry of models, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog.assets import LOCK, AssetExistsError, AssetInUseError, AssetNotFoundError
from catalog.contents import File
from catalog.lineage import Edge
from catalog.registry import Registry
from catalog.schemas import ModelSpec
from catalog.uses import STALE_SECONDS, this_process
from promptflow.exceptions import UserErrorException, ValidationException, WorkspaceError
from promptflow.workspace import Workspace, pids
from tests.catalog.test_registry_runs import end_run

BIG = os.urandom(1 << 21)


@pytest.fixture
def registry(workspace: Workspace) -> Registry:
    return Registry(workspace)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of a large and a small file."""
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "sub" / "weights.bin").write_bytes(BIG)
    return model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"pickled")
    return path


def blobs_of(workspace: Workspace) -> set[str]:
    return {path.name for path in workspace.paths.blobs.glob("*/*")}


def test_versions_get_numbers_and_the_newest_is_the_latest(registry: Registry, file: Path) -> None:
    first = registry.create(ModelSpec("m", str(file)))
    file.write_bytes(b"other")
    second = registry.create(ModelSpec("m", str(file), tags={"a": "b"}))
    named = registry.create(ModelSpec("m", str(file), version="2.0-rc"))
    assert [first.version, second.version, named.version] == ["1", "2", "2.0-rc"]
    assert registry.get("m") == named and registry.get("m:2") == second and registry.get("azureml:m@latest") == named
    assert [asset.version for asset in registry.list("m")] == ["2.0-rc", "2", "1"]
    assert registry.list() == [named]
    assert second.tags == {"a": "b"} and second.digest == named.digest != first.digest


def test_a_version_never_changes_but_what_is_said_of_it_may(registry: Registry, file: Path) -> None:
    first = registry.create(ModelSpec("m", str(file), version="1", tags={"a": "1"}, description="first"))
    again = registry.create(ModelSpec("m", str(file), version="1", tags={"b": "2"}))
    assert (again.digest, again.tags, again.description) == (first.digest, {"a": "1", "b": "2"}, "first")
    assert (again.number, again.created) == (first.number, first.created)
    file.write_bytes(b"other")
    with pytest.raises(AssetExistsError, match="never change"):
        registry.create(ModelSpec("m", str(file), version="1"))
    updated = registry.update(again, {"stage": "production", "tags": {"c": "3"}, "description": None})
    assert (updated.stage, updated.tags, updated.description) == ("Production", {"c": "3"}, None)
    assert registry.get("m:1") == updated
    with pytest.raises(ValidationException, match="never changes"):
        registry.update(updated, {"digest": "0" * 64})
    with pytest.raises(ValidationException, match="no stage"):
        registry.update(updated, {"stage": " "})


def test_a_number_is_not_given_twice(registry: Registry, file: Path) -> None:
    registry.create(ModelSpec("m", str(file)))
    registry.delete(registry.create(ModelSpec("m", str(file))))
    assert registry.create(ModelSpec("m", str(file))).version == "3"
    assert registry.create(ModelSpec("m", str(file), version="10")).version == "10"
    assert registry.create(ModelSpec("m", str(file))).version == "11"


def test_a_deleted_version_does_not_come_back_with_other_content(registry: Registry, file: Path) -> None:
    registry.delete(registry.create(ModelSpec("m", str(file), version="2.0")))
    assert registry.assets.names() == []
    again = registry.create(ModelSpec("m", str(file), version="2.0"))
    registry.delete(again)
    file.write_bytes(b"other")
    with pytest.raises(AssetExistsError, match="which was deleted"):
        registry.create(ModelSpec("m", str(file), version="2.0"))


def test_aliases_point_to_one_version_and_move(registry: Registry, file: Path) -> None:
    first = registry.create(ModelSpec("m", str(file), aliases=("champion",)))
    second = registry.create(ModelSpec("m", str(file)))
    assert registry.get("m@champion") == first
    registry.aliases.set(second, "champion")
    assert registry.get("models:/m@champion") == second
    registry.delete(second)
    with pytest.raises(AssetNotFoundError, match="no alias champion") as caught:
        registry.get("m@champion")
    assert caught.value.hint == "it has latest"
    for wrong in ("latest", "3", "v2", "a b"):
        with pytest.raises(ValidationException):
            registry.aliases.set(first, wrong)


def test_archived_versions_and_models_are_hidden_and_come_back(registry: Registry, file: Path) -> None:
    first, second = registry.create(ModelSpec("m", str(file))), registry.create(ModelSpec("m", str(file)))
    other = registry.create(ModelSpec("other", str(file)))
    registry.archive(second)
    assert registry.get("m") == first
    assert [a.id for a in registry.list()] == [first.id, other.id]
    assert [a.version for a in registry.list("m", archived=True)] == ["2"]
    assert [a.version for a in registry.list("m", archived=None)] == ["2", "1"]
    registry.assets.archive_name("m", True)
    assert registry.list() == [other]
    assert [a.name for a in registry.list(archived=True)] == ["m"]
    registry.archive(registry.get("m:2"), False)
    registry.assets.archive_name("m", False)
    assert [a.id for a in registry.list()] == [second.id, other.id]
    with pytest.raises(AssetNotFoundError, match="no model called absent"):
        registry.assets.archive_name("absent", True)


def test_lists_filter_by_stage_type_and_tags(registry: Registry, file: Path) -> None:
    for number in range(6):
        registry.create(
            ModelSpec("m", str(file), tags={"n": str(number % 2)}, stage="Production" if number > 3 else None)
        )
    versions = [a.version for a in registry.list("m", tags={"n": "1"})]
    assert versions == ["6", "4", "2"]
    assert [a.version for a in registry.list("m", tags={"n": None}, stage="Production")] == ["6", "5"]
    assert [a.version for a in registry.list("m", tags={"n": "1"}, limit=2)] == ["6", "4"]
    assert registry.list("m", type="mlflow_model") == [] == registry.list("m", tags={"absent": None})


def test_contents_are_kept_once_and_laid_out_without_copies_of_large_files(registry: Registry, folder: Path) -> None:
    first = registry.create(ModelSpec("a", str(folder)))
    before = blobs_of(registry.workspace)
    second = registry.create(ModelSpec("b", "model", folder=folder.parent))
    assert first.digest == second.digest and blobs_of(registry.workspace) == before
    assert first.size == 2 + len(BIG) and first.path == "model"
    laid = registry.folder(first)
    assert laid.name == "model" and registry.folder(second) == laid
    assert (laid / "sub" / "weights.bin").read_bytes() == BIG
    assert (laid / "sub" / "weights.bin").stat().st_nlink == 2 and (laid / "config.json").stat().st_nlink == 1
    assert not (laid / "sub" / "weights.bin").stat().st_mode & 0o222
    assert sorted(p.name for p in laid.rglob("*")) == ["config.json", "sub", "weights.bin"]


def test_a_download_has_the_same_bytes(registry: Registry, folder: Path, file: Path, tmp_path: Path) -> None:
    path = registry.download(registry.create(ModelSpec("a", str(folder))), tmp_path / "out")
    assert path == tmp_path / "out" / "a" / "model"
    assert (path / "sub" / "weights.bin").read_bytes() == BIG
    assert registry.download(registry.create(ModelSpec("b", str(file))), tmp_path / "out").read_bytes() == b"pickled"


def test_a_download_replaces_the_files_that_are_there(registry: Registry, folder: Path, tmp_path: Path) -> None:
    asset = registry.create(ModelSpec("a", str(folder)))
    path = registry.download(asset, tmp_path / "out")
    (path / "config.json").write_text("edited")
    (path / "mine.txt").write_text("mine")
    assert registry.download(asset, tmp_path / "out") == path
    assert (path / "config.json").read_text() == "{}" and (path / "mine.txt").read_text() == "mine"


def test_a_folder_of_an_upload_is_registered_by_its_files(registry: Registry, folder: Path) -> None:
    kept = [registry.workspace.blobs.put(data) for data in (b"{}", BIG)]
    files = [File("config.json", kept[0].digest, kept[0].size), File("sub/weights.bin", kept[1].digest, kept[1].size)]
    asset = registry.create_from_files("m", files, tags={"by": "upload"}, edges=[Edge("", "run", "run:r")])
    assert asset.digest == registry.create(ModelSpec("other", str(folder))).digest
    assert (asset.version, asset.tags, asset.path) == ("1", {"by": "upload"}, "m")
    assert registry.lineage.sources(asset.id)[0].source == "run:r"
    with pytest.raises(WorkspaceError, match="not in"):
        registry.create_from_files("m", [File("a", "0" * 64, 1)])
    with pytest.raises(WorkspaceError, match="outside"):
        registry.create_from_files("m", [File("../a", kept[0].digest, 2)])


@pytest.mark.parametrize("harm", ["gone", "short"])
def test_a_damaged_blob_is_told_when_its_model_is_laid_out(registry: Registry, folder: Path, harm: str) -> None:
    asset = registry.create(ModelSpec("a", str(folder)))
    large = max(registry.files(asset), key=lambda file: file.size)
    blob = registry.workspace.blobs.local_file(large.digest)
    assert blob is not None
    blob.unlink() if harm == "gone" else blob.write_bytes(b"short")
    with pytest.raises(WorkspaceError, match=f"{large.digest} is"):
        registry.folder(asset)
    assert list(registry.workspace.home.glob("assets/*/*/*")) == []


def test_deleting_keeps_what_others_need(registry: Registry, folder: Path, tmp_path: Path) -> None:
    first = registry.create(ModelSpec("a", str(folder)))
    other = tmp_path / "other"
    other.mkdir()
    (other / "weights.bin").write_bytes(BIG)
    second = registry.create(ModelSpec("b", str(other)))
    registry.folder(first)
    registry.delete(first)
    assert not registry.contents.lay_out(second).parent.samefile(registry.workspace.home)
    assert (registry.folder(second) / "weights.bin").read_bytes() == BIG
    assert len(blobs_of(registry.workspace)) == 2
    registry.delete(second)
    assert blobs_of(registry.workspace) == set()
    assert list(registry.workspace.home.glob("assets/*/*")) == []
    assert registry.create(ModelSpec("a", str(folder))).digest == first.digest


def test_what_is_used_is_not_deleted(registry: Registry, file: Path) -> None:
    asset = registry.create(ModelSpec("m", str(file)))
    registry.uses.add(asset.id, "endpoint:shop/blue")
    registry.uses.add(asset.id, "endpoint:shop/green")
    with pytest.raises(AssetInUseError, match="endpoint:shop/blue, endpoint:shop/green"):
        registry.delete(asset)
    assert registry.get("m:1") == asset
    assert registry.uses.end("endpoint:shop/blue") == 1 and registry.uses.end("endpoint:shop/green", asset.id) == 1
    registry.delete(asset)


def test_a_process_uses_what_it_holds_for_as_long_as_it_lives(registry: Registry, file: Path) -> None:
    asset = registry.create(ModelSpec("m", str(file)))
    registry.uses.hold([asset.id, "hub:org/m"], this_process())
    with pytest.raises(AssetInUseError, match=f"is used by process {os.getpid()}\\."):
        registry.delete(asset)
    assert registry.uses.of("hub:org/m") == [this_process()]
    registry.uses.end(this_process())
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    registry.uses.hold([asset.id], f"process:{child.pid}@{pids.identity(child.pid)}")
    with pytest.raises(AssetInUseError):
        registry.delete(asset)
    child.kill()
    child.communicate()
    registry.delete(asset)
    with pytest.raises(AssetNotFoundError):
        registry.uses.hold([asset.id], this_process())


def test_a_process_elsewhere_renews_its_uses(registry: Registry, file: Path, workspace: Workspace) -> None:
    asset = registry.create(ModelSpec("m", str(file)))
    registry.uses.hold([asset.id], "process:7@other-host/boot/pids/1")
    with pytest.raises(AssetInUseError, match="process 7 on other-host"):
        registry.delete(asset)
    old = (datetime.now(UTC) - timedelta(seconds=2 * STALE_SECONDS)).isoformat(timespec="microseconds")
    use = {"asset": asset.id, "used_by": "process:7@other-host/boot/pids/1", "created": old}
    workspace.store.put("uses", use, keep=())
    assert registry.uses.of(asset.id) == []
    registry.uses.hold([asset.id], use["used_by"])
    assert registry.uses.of(asset.id) == [use["used_by"]]
    workspace.store.put("uses", use, keep=())
    registry.delete(asset)
    assert workspace.store.list("uses") == []


def test_lineage_names_run_data_and_parents_and_goes_both_ways(registry: Registry, file: Path) -> None:
    end_run(registry.workspace, "r1", {})
    base = registry.create(ModelSpec("base", str(file)))
    tuned = registry.create(ModelSpec("tuned", str(file), run="r1", data=("rows:3", "https://x/y"), parent=("base:1",)))
    assert [(e.relation, e.source) for e in registry.lineage.sources(tuned.id)] == [
        ("data", "data:rows:3"),
        ("data", "https://x/y"),
        ("parent", "model:base:1"),
        ("run", "run:r1"),
    ]
    again = registry.create(ModelSpec("again", str(file), parent=("tuned", "Org/Name")))
    above = {(e.made, e.source) for e in registry.lineage.above(again.id)}
    assert (again.id, "hub:Org/Name") in above and (tuned.id, base.id) in above and (tuned.id, "run:r1") in above
    assert [e.made for e in registry.lineage.below(base.id)] == [tuned.id, again.id]
    registry.lineage.add([Edge(base.id, "parent", again.id)])
    assert len(registry.lineage.above(base.id)) == 7
    with pytest.raises(AssetNotFoundError, match="absent"):
        registry.create(ModelSpec("x", str(file), parent=("absent",)))
    with pytest.raises(UserErrorException, match="no run nope"):
        registry.create(ModelSpec("x", str(file), run="nope"))
    assert registry.list("x") == []


def test_threads_that_create_at_once_get_a_version_each(registry: Registry, folder: Path) -> None:
    versions: list[str] = []

    def create() -> None:
        versions.append(registry.create(ModelSpec("m", str(folder))).version)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions, key=int) == [str(number) for number in range(1, 9)]


def test_creating_while_the_same_content_is_deleted_loses_nothing(registry: Registry, folder: Path) -> None:
    """A blob that was there when it was looked for, and gone when the version was to be kept, is kept again."""
    old = registry.create(ModelSpec("old", str(folder)))
    put = registry.contents.put

    def put_then_delete(path: Path, **options: bool) -> object:
        registry.contents.put = put  # type: ignore[method-assign]
        blob = put(path, **options)
        registry.delete(old)
        return blob

    registry.contents.put = put_then_delete  # type: ignore[method-assign,assignment]
    new = registry.create(ModelSpec("new", str(folder)))
    assert (registry.folder(new) / "sub" / "weights.bin").read_bytes() == BIG


def test_a_failed_creation_leaves_no_version(registry: Registry, file: Path) -> None:
    with pytest.raises(AssetNotFoundError), registry.workspace.db.write(lock=LOCK):
        registry.create(ModelSpec("m", str(file)))
        registry.get("absent")
    assert registry.list("m") == []


def test_names_that_no_model_may_have(registry: Registry, file: Path) -> None:
    for name in ("a/b", "", ".hidden", "a b", "x" * 256, "ü"):
        with pytest.raises(ValidationException, match="not a name"):
            registry.create(ModelSpec(name, str(file)))


def test_empty_and_missing_paths_are_refused(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValidationException, match="is empty"):
        registry.create(ModelSpec("m", str(tmp_path / "empty")))
    with pytest.raises(ValidationException, match="no file or folder"):
        registry.create(ModelSpec("m", str(tmp_path / "absent")))


def test_errors_name_what_is_near(registry: Registry, file: Path) -> None:
    registry.create(ModelSpec("sentiment", str(file)))
    with pytest.raises(AssetNotFoundError, match="no model called sentimant") as caught:
        registry.get("sentimant")
    assert caught.value.hint == "did you mean sentiment?"
    with pytest.raises(AssetNotFoundError, match="no version 7") as caught:
        registry.get("sentiment:7")
    assert caught.value.hint == "the newest versions are 1"


@pytest.mark.parametrize("place", ["elsewhere", "memory://registry"])
def test_blobs_may_be_kept_elsewhere(
    home: Path, folder: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PF_BLOBS_URL", place if "://" in place else str(tmp_path / place))
    registry = Registry(Workspace.open())
    asset = registry.create(ModelSpec("m", str(folder)))
    assert (registry.folder(asset) / "sub" / "weights.bin").read_bytes() == BIG
    registry.delete(asset)
    assert not registry.workspace.blobs.has(asset.digest)


KILLED = """
import sys
from catalog.registry import Registry
from catalog.schemas import ModelSpec
from promptflow.workspace import Workspace
registry = Registry(Workspace.open())
print("ready", flush=True)
while True:
    registry.create(ModelSpec("m", sys.argv[1]))
    print("made", flush=True)
"""


def test_whoever_is_killed_while_registering_leaves_whole_versions_only(home: Path, folder: Path) -> None:
    for number in range(4):
        (folder / "sub" / "weights.bin").write_bytes(os.urandom(1 << 22))
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(0.01 * number)
        process.kill()
        process.communicate()
    registry = Registry(Workspace.open())
    registry.create(ModelSpec("m", str(folder)))
    versions = registry.list("m")
    assert [int(asset.version) for asset in versions] == list(range(len(versions), 0, -1))
    for asset in versions:
        path = registry.download(asset, folder.parent / "out" / asset.version)
        assert (path / "config.json").read_text() == "{}"


def test_processes_that_create_at_once_get_a_version_each(home: Path, file: Path) -> None:
    Registry(Workspace.open()).create(ModelSpec("m", str(file)))
    code = KILLED.replace("while True", "for _ in range(10)")
    makers = [subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [maker.wait(60) for maker in makers] == [0, 0, 0]
    assert [asset.version for asset in Registry(Workspace.open()).list("m")] == [str(n) for n in range(31, 0, -1)]
