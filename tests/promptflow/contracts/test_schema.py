"""The published JSON Schema says the same as the parser."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from promptflow.contracts.flow_yaml import SOURCE_TYPES
from promptflow.contracts.tool import ValueType

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "docs/schemas/flow.dag.schema.json").read_text())
FLOWS = sorted(ROOT.glob("examples/**/flow.dag.yaml"))


def test_the_schema_lists_the_parsers_types():
    types = SCHEMA["$defs"]["input"]["properties"]["type"]["anyOf"][0]["enum"]

    assert set(types) == {t.value for t in ValueType}
    assert set(SCHEMA["$defs"]["source"]["properties"]["type"]["enum"]) == set(SOURCE_TYPES)


@pytest.mark.parametrize("file", FLOWS, ids=lambda f: f.parent.name)
def test_every_example_is_valid(file):
    jsonschema.validate(yaml.safe_load(file.read_text()), SCHEMA)


@pytest.mark.parametrize(
    "flow",
    [
        {},
        {"nodes": [{"type": "python"}]},
        {"nodes": [{"name": "a", "timeout": 0}]},
        {"nodes": [{"name": "a", "source": {"type": "cod"}}]},
        {"nodes": [], "inputs": {"x": {"type": "strng"}}},
    ],
)
def test_the_schema_refuses_what_the_parser_refuses(flow):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(flow, SCHEMA)
