"""``python -m promptflow.service.child``: what is asked for on the standard input, of a flow, in a process of its own.

The last line of the output is the answer. What the flow prints goes before it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from promptflow.client import PFClient, load_flow, load_run
from promptflow.exceptions import UserErrorException
from promptflow.storage.encode import to_json


def answer(asked: dict[str, Any]) -> Any:
    """Of one of three verbs."""
    client = PFClient()
    if asked["verb"] == "submit":
        return client.runs.create_or_update(_run(asked["run"])).name
    flows = client.flows
    if asked["verb"] == "signature":
        return flows.infer_signature(load_flow(asked["flow"]), include_primitive_output=asked["primitive"])
    given = {key: value for key, value in asked.items() if key not in ("verb", "flow")}
    flows.test(asked["flow"], streaming=False, **given)
    return None


def _run(data: dict[str, Any]) -> Any:
    """The run that the keys of its YAML describe."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.yaml"
        file.write_text(json.dumps(data), encoding="utf-8")  # JSON is YAML
        return load_run(file)


def main() -> None:
    """One request, one answer."""
    try:
        said: dict[str, Any] = {"answer": answer(json.load(sys.stdin))}
    except UserErrorException as error:
        said = {"error": str(error), "location": error.location, "hint": error.hint}
    except Exception as error:  # of users' code, or of what was asked for
        said = {"error": f"{type(error).__name__}: {error}", "location": "", "hint": ""}
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\n" + to_json(said) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
