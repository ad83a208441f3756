from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.promptflow.cli.conftest import Pf


@pytest.fixture
def filled(pf: Pf, project: Path) -> Path:
    """A workspace with the results of three rows."""
    file = project / "f" / "flow.dag.yaml"
    file.write_text(file.read_text().replace("  type: python\n", "  type: python\n  enable_cache: true\n"))
    assert pf("run", "create", "--flow", "f", "--data", "good.jsonl", "--name", "r")[0] == 0
    return project


def test_stats(pf: Pf, filled: Path) -> None:
    stats = json.loads(pf("cache", "stats", "-o", "json")[1])
    assert stats["entries"] == 3 and stats["nodes"] == 1 and stats["bytes"] > 0
    assert stats["file"].endswith("cache/nodes.db")
    assert "1.0 GB" in pf("cache", "stats", "-o", "table")[1]


def test_list(pf: Pf, filled: Path) -> None:
    entries = json.loads(pf("cache", "list", "-o", "json")[1])
    assert sorted((e["node"], e["run"], e["line"]) for e in entries) == [("a", "r", 0), ("a", "r", 1), ("a", "r", 2)]
    assert len(pf("cache", "list", "-r", "2", "-o", "quiet")[1].split()) == 2
    assert json.loads(pf("cache", "list", "--node", "other", "-o", "json")[1]) == []


def test_prune_and_clear_ask(pf: Pf, filled: Path) -> None:
    for words in (["clear"], ["prune", "--max-size", "1kB"]):
        code, _, err = pf("cache", *words)
        assert (code, "add -y" in err) == (2, True)
    code, _, err = pf("cache", "prune", "--max-size", "0", "-y")
    assert (code, "removed 3 results" in err) == (0, True)
    code, _, err = pf("cache", "clear", "-y")
    assert (code, "removed 0 results" in err) == (0, True)
    assert json.loads(pf("cache", "stats", "-o", "json")[1])["bytes"] == 0


def test_a_wrong_size_is_a_wrong_use(pf: Pf, project: Path) -> None:
    code, _, err = pf("cache", "prune", "--max-size", "plenty", "-y")
    assert (code, "plenty" in err) == (2, True)


def test_a_damaged_cache_is_named_and_can_be_cleared(pf: Pf, filled: Path, home: Path) -> None:
    (home / "cache" / "nodes.db").write_bytes(b"no database at all" * 500)
    code, _, err = pf("cache", "stats")
    assert (code, "pf cache clear" in err) == (1, True)
    assert pf("cache", "clear", "-y")[0] == 0
    assert json.loads(pf("cache", "stats", "-o", "json")[1])["entries"] == 0


def test_the_second_run_says_what_was_cached(pf: Pf, filled: Path) -> None:
    _, out, _ = pf("run", "create", "--flow", "f", "--data", "good.jsonl", "--cache", "read", "-o", "json")
    assert json.loads(out)["status"] == "Completed"
    (filled / "f" / "a.py").write_text((filled / "f" / "a.py").read_text().replace('"<"', '"{"'))
    out = pf("flow", "test", "--flow", "f", "--inputs", "x=one", "--cache", "auto")[1]
    assert json.loads(out) == {"o": "{one>"}
