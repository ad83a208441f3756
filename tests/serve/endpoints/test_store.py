"""The store of endpoints: revisions, traffic, keys, what is held."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog.assets import AssetInUseError
from catalog.registry import Registry
from catalog.schemas import ModelSpec
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace import Workspace
from promptflow.workspace.quick import QuickRows
from serve.endpoints.errors import EndpointConflictError, EndpointNotFoundError
from serve.endpoints.records import TOKEN, Deployment, Endpoint
from serve.endpoints.spec import Collection, Collector, EnvironmentSpec, Probe, RequestSettings, Spec
from serve.endpoints.store import PRIMARY, EndpointStore
from serve.endpoints.tokens import is_valid


@pytest.fixture
def store(workspace: Workspace) -> EndpointStore:
    """Once on SQLite and once on PostgreSQL."""
    return EndpointStore(workspace)


@pytest.fixture
def blue(store: EndpointStore) -> Deployment:
    store.create(Endpoint("iris"))
    return store.put(Deployment("iris", "blue", Spec("script")))


def test_an_endpoint_is_kept_with_all_that_it_says(store: EndpointStore) -> None:
    made = store.create(Endpoint("iris", TOKEN, description="Flowers", tags={"a": "b"}, recorded={"identity": {}}))
    assert store.get("iris") == made
    assert (made.revision, store.list()) == (1, [made])


def test_a_spec_survives_its_json(tmp_path: Path) -> None:
    spec = Spec(
        "script", "iris:3", tmp_path / "m", code=tmp_path, environment=EnvironmentSpec("e", {"a": [1]}, ("numpy",)),
        variables={"A": "b"}, request=RequestSettings(9.0, 2, 1.0), liveness=Probe(1, 2, 3, 4, 5),
        collector=Collector({"model_inputs": Collection(True, "x")}, 0.5, "day", ("h",)), assets=("model:iris:3",),
        options={"batching": {"max_size": 4}},
    )  # fmt: skip
    assert Spec.from_json(spec.to_json()) == spec
    assert Spec.from_json({**spec.to_json(), "of_a_newer_version": 1}) == spec


def test_of_two_changes_at_once_one_is_told(store: EndpointStore, blue: Deployment) -> None:
    endpoint = store.get("iris")
    told: list[UserErrorException] = []

    def change(number: int) -> None:
        try:
            store.update(replace(endpoint, description=f"by {number}", tags={"by": str(number)}))
        except EndpointConflictError as error:
            told.append(error)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    kept = store.get("iris")
    assert len(told) == 7 and "was changed by somebody else meanwhile" in str(told[0])
    assert kept.revision == 2 and kept.description == f"by {kept.tags['by']}"


def test_of_two_changes_of_a_deployment_at_once_one_is_told(store: EndpointStore, blue: Deployment) -> None:
    store.put(replace(blue, description="first"))
    with pytest.raises(EndpointConflictError, match="revision 2, and this change is of 1"):
        store.put(replace(blue, description="second"))
    assert store.deployment("iris", "blue").description == "first"
    with pytest.raises(EndpointConflictError, match="already"):
        store.put(replace(blue, revision=0))


def test_what_is_read_at_once_belongs_together(store: EndpointStore, blue: Deployment) -> None:
    """While traffic moves from one deployment to the next, and the former goes, none is sent to what is not there."""
    stop = threading.Event()

    def move() -> None:
        for number in range(20):
            store.put(Deployment("iris", f"d{number}", Spec("script")))
            store.set_traffic("iris", {f"d{number}": 100})
            if number:
                store.delete_deployment("iris", f"d{number - 1}")
        stop.set()

    mover = threading.Thread(target=move)
    mover.start()
    seen = 0
    while not stop.is_set():
        state = store.state()
        there = {one.name for one in state.deployments}
        assert {*state.endpoints[0].traffic} <= there, state
        seen += 1
    mover.join()
    assert seen and store.state().counter == store.counter()


def test_many_endpoints_are_read_in_as_many_queries_as_one(
    store: EndpointStore, blue: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = QuickRows._ask
    monkeypatch.setattr(
        QuickRows, "_ask", lambda self, table, question: (asked.append(table), ask(self, table, question))[1]
    )
    store.state()
    one = len(asked)
    for number in range(5):
        store.create(Endpoint(f"more-{number}"))
    asked.clear()
    keys = store.state().keys
    assert len(asked) == one
    assert keys["more-3"] == (store.keys("more-3"), store.signing_key("more-3"))


def test_a_mirror_of_nothing_is_none(store: EndpointStore, blue: Deployment) -> None:
    assert store.set_traffic("iris", {}, {"blue": 10}).mirror == {"blue": 10}
    assert store.set_traffic("iris", {}, {"blue": 0}).mirror == {}
    assert store.get("iris").mirror == {}


def test_every_change_raises_the_counter(store: EndpointStore, blue: Deployment) -> None:
    seen = [store.counter()]
    for change in (
        lambda: store.put(replace(blue, description="x")),
        lambda: store.set_traffic("iris", {"blue": 100}),
        lambda: store.regenerate("iris", PRIMARY),
        lambda: store.set_traffic("iris", {"blue": 0}),
        lambda: store.delete_deployment("iris", "blue"),
        lambda: store.delete("iris"),
    ):
        change()
        seen.append(store.counter())
    assert seen == sorted({*seen})


@pytest.mark.parametrize(
    ("traffic", "mirror", "said"),
    [
        ({"green": 100}, {}, "'green', which is no deployment: there are blue"),
        ({"blue": 90}, {}, "add up to 90"),
        ({"blue": 100}, {"blue": 10}, "gets live traffic"),
        ({"blue": 100}, {"gone": 10}, "'gone', which is no deployment"),
    ],
)
def test_rules_that_no_request_can_follow_are_refused(
    store: EndpointStore, blue: Deployment, traffic: dict[str, int], mirror: dict[str, int], said: str
) -> None:
    with pytest.raises(ValidationException, match=said):
        store.set_traffic("iris", traffic, mirror)
    assert store.get("iris").traffic == {}


def test_what_has_traffic_is_not_deleted(store: EndpointStore, blue: Deployment) -> None:
    store.set_traffic("iris", {"blue": 100})
    with pytest.raises(EndpointConflictError, match="has 100 % of the traffic"):
        store.delete_deployment("iris", "blue")
    store.set_traffic("iris", {"blue": 0})
    store.delete_deployment("iris", "blue")
    assert store.get("iris").traffic == {} and store.deployments("iris") == []


def test_an_endpoint_goes_with_its_deployments_and_keys(store: EndpointStore, blue: Deployment) -> None:
    store.set_traffic("iris", {"blue": 100})
    store.delete("iris")
    assert store.deployments() == [] and store.workspace.secrets.names() == []
    with pytest.raises(EndpointNotFoundError, match="There is no endpoint 'iris'"):
        store.keys("iris")


def test_names_that_would_be_paths_are_refused(store: EndpointStore) -> None:
    for name in ("../../etc", "a", "a" * 33, "-ab", "ab-", "a b c", "x\r\nY: z", ""):
        with pytest.raises(ValidationException, match="no name of an endpoint"):
            store.create(Endpoint(name))


def test_keys_are_secret_and_one_is_replaced_at_a_time(store: EndpointStore, blue: Deployment) -> None:
    keys = store.keys("iris")
    new = store.regenerate("iris", PRIMARY)
    assert new.primary != keys.primary and new.secondary == keys.secondary
    database = b"".join(file.read_bytes() for file in store.workspace.home.glob("workspace.sqlite*"))
    assert new.primary.encode() not in database and new.primary not in repr(new)


def test_tokens_expire_and_end_with_the_key(store: EndpointStore) -> None:
    store.create(Endpoint("iris", TOKEN))
    token = store.token("iris", 60)
    key = store.signing_key("iris")
    assert is_valid(token.value, "iris", key)
    assert not is_valid(token.value, "iris", key, now=token.expires)
    assert not is_valid(token.value, "other", key)
    body, _, signature = token.value.partition(".")
    assert not is_valid(f"{body}.{signature[::-1]}", "iris", key) and not is_valid("ü.é", "iris", key)
    store.regenerate("iris", PRIMARY)
    assert not is_valid(token.value, "iris", store.signing_key("iris"))


def test_the_model_of_a_deployment_is_not_deleted(store: EndpointStore, tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("weights")
    registry = Registry(store.workspace)
    model = registry.create(ModelSpec("iris", "m.txt", folder=tmp_path))
    store.create(Endpoint("iris"))
    store.put(Deployment("iris", "blue", Spec("model", assets=(model.id,))))
    with pytest.raises(AssetInUseError, match="used by endpoint:iris/blue"):
        registry.delete(model)
    store.delete_deployment("iris", "blue")
    registry.delete(model)


def test_a_snapshot_stays_while_it_is_used_and_an_hour_longer(store: EndpointStore, tmp_path: Path) -> None:
    code = tmp_path / "code"
    (code / "__pycache__").mkdir(parents=True)
    (code / "__pycache__" / "x.pyc").write_bytes(b"x")
    (code / "data.bin").write_bytes(b"x")
    (code / ".amlignore").write_text("*.bin\n")
    (code / "score.py").write_text("def init(): ...\n")
    asset = store.snapshots.keep_code(code)
    folder = store.snapshots.folder(asset)
    assert folder.name == "code" and sorted(file.name for file in folder.iterdir()) == [".amlignore", "score.py"]
    assert store.snapshots.keep_code(code).id == asset.id
    store.create(Endpoint("iris"))
    blue = store.put(Deployment("iris", "blue", Spec("script", code=folder, assets=(asset.id,))))
    later = datetime.now(UTC) + timedelta(hours=2)
    store.snapshots.prune(later)
    assert folder.is_dir()
    store.put(replace(blue, spec=Spec("script")))
    store.snapshots.prune()
    assert folder.is_dir()
    store.snapshots.prune(later)
    assert not folder.exists()


def test_links_to_folders_are_copied_and_circles_are_not(store: EndpointStore, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "words.py").write_text("WORDS = []")
    code = tmp_path / "code"
    code.mkdir()
    (code / "score.py").write_text("")
    (code / "lib").symlink_to(tmp_path / "shared")
    (code / "round").symlink_to(code)
    folder = store.snapshots.folder(store.snapshots.keep_code(code))
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*.py")) == ["lib/words.py", "score.py"]


def test_a_workspace_may_be_moved(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text("")
    before = EndpointStore(Workspace.open(tmp_path / "before", ""))
    asset = before.snapshots.keep_code(tmp_path / "code")
    before.create(Endpoint("iris"))
    code = before.snapshots.folder(asset)
    kept = before.put(Deployment("iris", "blue", Spec("script", code=code, assets=(asset.id,))))
    assert before.deployment("iris", "blue") == kept
    before.workspace.close()
    (tmp_path / "before").rename(tmp_path / "after")
    after = EndpointStore(Workspace.open(tmp_path / "after", "")).deployment("iris", "blue")
    assert after.spec.code is not None and (after.spec.code / "score.py").is_file()
