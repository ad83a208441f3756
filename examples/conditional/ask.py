from promptflow.core import tool


@tool
def ask(amount: float, reason: str) -> str:
    return f"a manager decides about {amount:.2f} ({reason})"
