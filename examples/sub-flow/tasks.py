from promptflow.core import tool


@tool
def tasks(sentences: list, found: list) -> list:
    """One task per sentence, with the outputs of the inner flow."""
    return [f"{each['team']}: {sentence}" for sentence, each in zip(sentences, found)]
