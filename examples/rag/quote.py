from promptflow.core import tool

ENOUGH = 0.1  # below it, the best piece has next to nothing to do with the question


@tool
def quote(found: list) -> str:
    """The best piece with its source. A prompt for a chat model takes the place of this node."""
    if not found or found[0]["score"] < ENOUGH:
        return "Nothing is known of that."
    best = found[0]
    return f"{best['text'].splitlines()[-1]} ({best['metadata']['source']})"
