"""A flow is a function: its parameters are the inputs, its TypedDict the outputs."""

import re
from typing import TypedDict

from promptflow.tracing import trace

MONEY = re.compile(r"(?:(EUR|USD|GBP|[€$£])\s?)?(\d+(?:[.,]\d{2}))\s?(EUR|USD|GBP|[€$£])?")
SIGNS = {"€": "EUR", "$": "USD", "£": "GBP"}


class Facts(TypedDict):
    orders: list
    amounts: list
    addresses: list


def extract(message: str) -> Facts:
    return Facts(
        orders=re.findall(r"\border\s+#?(\d{4,6})\b", message, re.IGNORECASE),
        amounts=amounts(message),
        addresses=re.findall(r"[\w.+-]+@[\w-]+\.[\w.-]*\w", message),
    )


@trace
def amounts(message: str) -> list[str]:
    found = []
    for before, number, after in MONEY.findall(message):
        currency = before or after
        if currency:
            found.append(f"{number.replace(',', '.')} {SIGNS.get(currency, currency)}")
    return found
