from promptflow.core import tool


@tool
def approve(amount: float) -> str:
    return f"{amount:.2f} will be paid back"
