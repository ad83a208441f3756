"""``python -m promptflow.service.child``: what is asked for on the standard input, of a flow, in a process of its own.

The last line of the output is the answer. What the flow prints goes before it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from promptflow.client import PFClient, load_flow
from promptflow.exceptions import UserErrorException
from promptflow.storage.encode import to_json


def answer(asked: dict[str, Any]) -> Any:
    """Of one of two verbs."""
    flows = PFClient().flows
    if asked["verb"] == "signature":
        return flows.infer_signature(load_flow(asked["flow"]), include_primitive_output=asked["primitive"])
    given = {key: value for key, value in asked.items() if key not in ("verb", "flow")}
    flows.test(asked["flow"], streaming=False, **given)
    return None


def main() -> None:
    """One request, one answer."""
    try:
        said: dict[str, Any] = {"answer": answer(json.load(sys.stdin))}
    except UserErrorException as error:
        said = {"error": str(error), "location": error.location, "hint": error.hint}
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\n" + to_json(said) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
