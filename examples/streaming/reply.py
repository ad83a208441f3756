"""A tool that is a generator: it passes the model's words on as they come."""

from collections.abc import Iterator

from promptflow.core import tool


@tool
def reply(draft: Iterator[str]) -> Iterator[str]:
    yield "Hello! "
    yield from draft
    yield " Your support team"
