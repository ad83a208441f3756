"""Flow files that are wrong: every error says what, where and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.robustness.conftest import Pf

OUT = "outputs:\n  o: {type: string, reference: '${a.output}'}\nnodes:\n"


def node(name: str, x: str = "1") -> str:
    return f"- name: {name}\n  type: python\n  source: {{type: code, path: a.py}}\n  inputs: {{x: '{x}'}}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (OUT + node("a", "${b.output}") + node("b", "${a.output}"), ["circular", "a -> b -> a", ":4:3", "hint:"]),
        (OUT + node("a", "${a.output}"), ["circular", "a -> a"]),
        (
            OUT + node("a", "${bb.output}") + node("b"),
            ["'bb'", ":7:12", "nodes[0].inputs.x", "did you mean ${b.output}?"],
        ),
        (OUT + node("a", "${inputs.nope}"), ["'nope'", ":7:12"]),
        (OUT.replace("a.o", "zz.o") + node("a"), ["'zz'", ":2:21", "outputs.o", "did you mean ${a.output}?"]),
        (OUT + node("a") + node("a"), ["more than once", "nodes[1].name"]),
        ("inputs:\n\tx: {type: string}\n", ["a tab", ":2:1", "indent with spaces"]),
        (OUT.replace("nodes:\n", OUT) + node("a"), ["duplicate key 'outputs'", ":3:1"]),
        (OUT + node("a") + "---\nfoo: 1\n", ["second document", ":8:1"]),
        ("nodes: [a\n", ["Cannot parse YAML", ":1:10"]),
        ("- a\n", ["mapping", "found list"]),
        ("", ["no 'nodes'"]),
        ("nodes: {a: 1}\n", ["'nodes' must be a list"]),
        ("inputs: [a]\nnodes: []\n", ["'inputs' must be a mapping"]),
        ("inputs:\n  x: {type: strng}\n" + OUT + node("a"), ["'strng'", ":2:7", "did you mean string?"]),
        ("x: !!python/object/apply:os.system ['echo pwned']\n", ["unknown tag", ":1:4"]),
        ("nodes: " + "[" * 2000 + "]" * 2000, ["nested more than 1000 deep"]),
        ("a: &a [*a]\nnodes: *a\n", ["must be a mapping"]),
        ("additional_includes: foo\n" + OUT + node("a"), ["'additional_includes' must be a list"]),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_a_wrong_file_is_named_with_its_line(folder: Path, pf: Pf, text: str, words: list[str]) -> None:
    (folder / "flow.dag.yaml").write_text(text, encoding="utf-8")
    assert pf("flow", "test", "--flow", ".").is_clear_error("  at ", "flow.dag.yaml", *words)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("description: café\nnodes: []\n".encode("latin-1"), ["byte 0xe9", ":1:17", "UTF-8"]),
        (b"nodes: [\x00]\n", ["#x0000", ":1:9"]),
        ("nodes: []\n".encode("utf-16"), ["UTF-8"]),
        (b"\xf1\x03\x88\xfe\x00", ["UTF-8"]),
    ],
)
def test_bytes_that_are_no_text_are_named(folder: Path, pf: Pf, data: bytes, words: list[str]) -> None:
    (folder / "flow.dag.yaml").write_bytes(data)
    assert pf("flow", "test", "--flow", ".").is_clear_error("Cannot parse YAML", *words)


def test_unknown_keys_are_warnings(folder: Path, pf: Pf) -> None:
    (folder / "flow.dag.yaml").write_text("inputz: {}\nnodes: []\n", encoding="utf-8")
    told = pf("flow", "validate", "--source", ".")
    assert told.code == 0
    assert "Unknown key 'inputz'" in told.out and "did you mean inputs?" in told.out


def test_an_alias_bomb_is_not_unfolded(folder: Path, pf: Pf) -> None:
    levels = "".join(
        f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefghijklmno", "bcdefghijklmnop", strict=True)
    )
    (folder / "flow.dag.yaml").write_text(f"a: &a [x,x,x,x]\n{levels}nodes: *p\n", encoding="utf-8")
    assert pf("flow", "test", "--flow", ".").is_clear_error("must be a mapping")


def test_several_mistakes_are_told_at_once(folder: Path, pf: Pf) -> None:
    text = "inputs:\n  x: {type: strng}\n" + OUT + node("a") + node("a")
    (folder / "flow.dag.yaml").write_text(text, encoding="utf-8")
    assert pf("flow", "test", "--flow", ".").err.count("error: ") == 2


@pytest.mark.parametrize("path", [".", "../two"])
def test_a_flow_inside_itself_is_refused(folder: Path, pf: Pf, path: str) -> None:
    sub = "nodes:\n- name: a\n  source: {{type: flow, path: {}}}\n  inputs: {{}}\n"
    for name, target in {"one": path, "two": "../one"}.items():
        (folder / name).mkdir()
        (folder / name / "flow.dag.yaml").write_text(sub.format(target), encoding="utf-8")
    assert pf("flow", "test", "--flow", "one").is_clear_error("cannot be a node of itself", "one -> ")
