"""A mail without what is not the customer's own words."""

import re

from promptflow.core import tool

QUOTE = re.compile(r"^(>.*|On .{5,80} wrote:|-----+ ?Original [Mm]essage ?-----+)$")
SIGNATURE = re.compile(r"^(-- ?|Sent from my .*)$")


@tool
def clean(message: str) -> str:
    kept = []
    for line in message.splitlines():
        if SIGNATURE.match(line.strip()):
            break
        if not QUOTE.match(line.strip()):
            kept.append(line.strip())
    return " ".join(line for line in kept if line)
