"""The order a conversation is about: the last number that the customer gave, in this turn or in an earlier one."""

import re

from promptflow.core import tool

NUMBER = re.compile(r"\b(?:order|nr\.?|number|#)\s*#?(\d{4,6})\b", re.IGNORECASE)


@tool
def order(question: str, chat_history: list) -> str:
    said = [turn["inputs"]["question"] for turn in chat_history] + [question]
    numbers = [number for text in said for number in NUMBER.findall(text)]
    return numbers[-1] if numbers else ""
