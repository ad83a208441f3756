from promptflow.core import tool


@tool
def repair(days: int) -> str:
    return f"we repair it: {days} days are too many for a refund"
