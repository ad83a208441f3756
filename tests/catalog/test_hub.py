"""The hub through huggingface_hub's real client, over loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalog.hub import Hub, endpoint_url
from catalog.huberrors import EmptyFileError, HubError, HubGatedError, HubNotFoundError, HubTokenError
from promptflow.exceptions import ValidationException
from tests.hub_server import LARGE, HubServer, Repo, serving

pytest.importorskip("huggingface_hub")

WEIGHTS = bytes(range(256)) * (LARGE // 256)
FACTS = {
    "cardData": {"license": "mit", "language": ["en", "de"], "base_model": "acme/base"},
    "pipeline_tag": "text-generation",
    "library_name": "transformers",
    "tags": ["license:mit", "gguf"],
    "downloads": 7,
    "safetensors": {"parameters": {"BF16": 1000}, "total": 1000},
    "config": {"architectures": ["LlamaForCausalLM"]},
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    repos = {
        "acme/small": Repo({"config.json": b"{}", "model.safetensors": WEIGHTS}, facts=FACTS),
        "acme/shut": Repo({"config.json": b"{}"}, gated="manual", readers=("good",)),
        "acme/secret": Repo({"config.json": b"{}"}, private=True),
    }
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving(repos) as server:
        server.tokens = {"good": "ann", "other": "bob"}
        yield server


def test_a_model_with_its_files(server: HubServer) -> None:
    model = Hub(server.url, token=False).model("acme/small")
    repo = server.repos["acme/small"]
    config, weights = model.files
    assert (model.sha, model.licence, model.languages, model.task) == (repo.sha, "mit", ("en", "de"), "text-generation")
    assert (model.parameters, model.dtypes, model.base_models) == (1000, {"BF16": 1000}, ("acme/base",))
    assert (config.sha256, config.etag) == (None, repo.hashes("config.json")[2])
    assert (weights.size, weights.etag) == (LARGE, repo.hashes("model.safetensors")[1])
    assert model.updated.startswith("2026-01-02T03:04:05")


def test_nothing_is_asked_but_what_was_asked_for(server: HubServer) -> None:
    Hub(server.url, token=False).model("acme/small")
    assert server.paths() == ["/api/models/acme/small"]


def test_parts_of_files(server: HubServer) -> None:
    hub = Hub(server.url, token=False)
    assert hub.read_range("acme/small", "main", "model.safetensors", 8, 16) == WEIGHTS[8:16]
    assert hub.read_range("acme/small", "main", "model.safetensors", LARGE - 4, LARGE + 4) == WEIGHTS[-4:]
    assert hub.read_small("acme/small", "main", "config.json") == b"{}"
    assert hub.traffic == 14
    with pytest.raises(EmptyFileError, match="ends before byte 70000"):
        hub.read_range("acme/small", "main", "model.safetensors", 70000, 70001)
    with pytest.raises(HubError, match="larger than 100 bytes"):
        hub.read_small("acme/small", "main", "model.safetensors", limit=100)


def test_a_server_without_ranges_sends_no_more_than_was_asked(server: HubServer) -> None:
    server.ranges = False
    hub = Hub(server.url, token=False)
    assert hub.read_range("acme/small", "main", "model.safetensors", 0, 8) == WEIGHTS[:8]
    with pytest.raises(HubError, match="does not serve parts"):
        hub.read_range("acme/small", "main", "model.safetensors", 8, 16)


def test_search_reads_all_pages(server: HubServer) -> None:
    server.repos = {f"acme/m{number}": Repo({}, facts=FACTS) for number in range(250)}
    found = list(Hub(server.url, token=False).search("m", task="text-generation", tags=("gguf",)))
    assert len({model.id for model in found}) == 250
    assert found[0].licence == "mit" and not found[0].files
    with pytest.raises(ValidationException, match="cannot be sorted by size"):
        list(Hub(server.url).search(sort="size"))


@pytest.mark.parametrize(
    ("id", "revision", "token", "error", "text"),
    [
        ("acme/none", None, "good", HubNotFoundError, "There is no acme/none on"),
        ("acme/none", None, False, HubNotFoundError, "or this token may not see it"),
        ("acme/secret", None, "good", HubNotFoundError, "There is no acme/secret"),
        ("acme/small", "v9", False, HubNotFoundError, "no revision v9"),
        ("acme/small", None, "revoked", HubTokenError, "does not accept the token"),
        ("../../etc", None, False, HubNotFoundError, "is no name of a model"),
    ],
)
def test_what_a_hub_refuses(
    server: HubServer, id: str, revision: str | None, token: str | bool, error: type[HubError], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        Hub(server.url, token).model(id, revision)
    assert caught.value.hint


def test_a_gated_model(server: HubServer) -> None:
    with pytest.raises(HubGatedError, match="licence must be accepted") as caught:
        Hub(server.url, "other").auth_check("acme/shut")
    assert f"accept it at {server.url}/acme/shut" in caught.value.hint
    Hub(server.url, "good").auth_check("acme/shut")
    assert Hub(server.url, "other").model("acme/shut").gated == "manual"
    with pytest.raises(HubGatedError):
        Hub(server.url, False).read_small("acme/shut", "main", "config.json")


def test_whose_token_it_is(server: HubServer) -> None:
    assert Hub(server.url, "good").user() == "ann"
    with pytest.raises(HubTokenError):
        Hub(server.url, "revoked").user()


def test_no_server() -> None:
    with pytest.raises(HubError, match="did not answer for acme/small") as caught:
        Hub("http://127.0.0.1:9", token=False).model("acme/small")
    assert "HF_ENDPOINT" in caught.value.hint


def test_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert endpoint_url() == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror:8080/")
    assert (endpoint_url(), endpoint_url("https://other")) == ("http://mirror:8080", "https://other")
    with pytest.raises(ValidationException, match="must begin with http"):
        endpoint_url("ftp://mirror")
