import re

from promptflow.core import tool


@tool
def sentences(mail: str) -> list:
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", mail) if len(part.split()) > 2]
