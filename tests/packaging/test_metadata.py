"""pyproject.toml against the code: what is imported is required, what is asked for is an extra."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.resources
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import promptflow
from promptflow.workspace.optional import need
from tests.packaging.environments import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = ("promptflow", "serve", "catalog")
STAND_INS = ("azureml",)  # packages of ours under names that scripts import
# what our requirements promise to bring along
BROUGHT = {"pydantic": "fastapi", "starlette": "fastapi", "h11": "uvicorn"}
# files that are imported only where their extra is installed
OF_AN_EXTRA = {
    "promptflow/integrations/langchain/": "langchain",
    "promptflow/tracing/otel_provider.py": "otel",
    "catalog/mirror/xet": "catalog",
    "serve/rpc/": "grpc",
    "serve/scorers/": "ml",
    "serve/batch/predict.py": "ml",
}
MODULE_OF = {
    "python-dotenv": "dotenv",
    "pyyaml": "yaml",
    "ruamel-yaml": "ruamel",
    "psycopg": "psycopg",
    "pillow": "PIL",
    "grpcio": "grpc",
    "protobuf": "google",
}


def normal(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement)[0]).lower()


BASE = {normal(requirement) for requirement in PROJECT["dependencies"]}
EXTRAS = {
    name: {normal(requirement) for requirement in requirements}
    for name, requirements in PROJECT["optional-dependencies"].items()
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_bytes())


def imported_at_the_top(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).partition(".")[0]


def imported_anywhere(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from imported_at_the_top([node])


def distribution(module: str) -> str:
    return next((name for name, top in MODULE_OF.items() if top == module), normal(module))


def is_ours_or_standard(module: str) -> bool:
    return module in sys.stdlib_module_names or module in (*OURS, *STAND_INS)


def test_what_is_imported_at_the_top_of_a_file_is_required():
    strangers = set()
    for file, tree in sources():
        extra = next((name for start, name in OF_AN_EXTRA.items() if file.startswith(start)), None)
        allowed = BASE | (EXTRAS[extra] | {"opentelemetry"} if extra else set())
        for module in imported_at_the_top(tree.body):
            name = distribution(module)
            if not is_ours_or_standard(module) and BROUGHT.get(name, name) not in allowed:
                strangers.add((file, module))

    assert strangers == set()


def test_what_is_required_is_imported():
    used = {distribution(module) for _, tree in sources() for module in imported_anywhere(tree)}

    assert BASE - used == set()


def needs() -> list[tuple[str, str]]:
    """The (module, extra) of every ``need("module", extra="extra")``."""
    found = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == need.__name__:
                (module,), (extra,) = node.args, (keyword.value for keyword in node.keywords)
                if isinstance(module, ast.Constant) and isinstance(extra, ast.Constant):
                    found.add((str(module.value), str(extra.value)))
    return sorted(found)


@pytest.mark.parametrize(("module", "extra"), needs())
def test_what_is_asked_for_is_in_its_extra(module, extra):
    assert extra in EXTRAS
    tops = {MODULE_OF.get(name, name).partition("-")[0] for name in EXTRAS[extra]}
    # protobuf comes with opentelemetry-proto
    assert module.partition(".")[0].partition("_")[0] in tops | ({"google"} if extra == "otel" else set())


def test_no_extra_is_part_of_the_base():
    assert {name: both for name, names in EXTRAS.items() if (both := names & BASE)} == {}


def test_the_azure_extra_is_there_and_empty():
    assert EXTRAS["azure"] == set()


def test_the_version_satisfies_tool_packages_and_is_the_installed_one():
    assert int(promptflow.__version__.partition(".")[0]) >= 2
    assert importlib.metadata.version("promptflow") == promptflow.__version__


@pytest.mark.parametrize(
    ("package", "files"),
    [
        ("promptflow", ["py.typed"]),
        ("promptflow.client.visualize", ["page.html", "page.css", "page.js"]),
        (
            "serve.engines",
            [f"builtin/intent-mini/{name}" for name in ("model.onnx", "model.safetensors", "tokenizer.json")],
        ),
    ],
)
def test_files_that_are_not_python_lie_in_their_package(package, files):
    folder = importlib.resources.files(package)

    assert [name for name in files if not folder.joinpath(name).is_file()] == []


def test_every_file_in_the_packages_is_of_a_kind_that_the_wheel_takes():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    left_out = [
        path.relative_to(ROOT).as_posix()
        for package in OURS
        for path in (ROOT / package).rglob("*")
        if path.is_file()
        and path.suffix not in (".py", ".pyc")
        and not any(Path(path.name).match(pattern.rpartition("/")[2]) for pattern in data[package])
    ]

    assert left_out == []
