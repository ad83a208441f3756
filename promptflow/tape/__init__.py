"""Record the calls of a flow to models and services, and answer them from the tape later, with the network blocked.

``with record("tape.jsonl"): flow(question="Why?")``, and then, in anyone's CI,
``with replay("tape.jsonl"): flow(question="Why?")``.
"""

from typing import TYPE_CHECKING

from promptflow._lazy import lazy

if TYPE_CHECKING:
    from promptflow.tape.use import record, replay

__all__ = ["record", "replay"]
# Every call to a model looks for a tape: what records and replays is loaded by those who do.
__getattr__, __dir__ = lazy(__name__, {"record": "promptflow.tape.use", "replay": "promptflow.tape.use"})
