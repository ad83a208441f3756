from promptflow.core import tool


@tool
def answer(reply: str, order: str) -> str:
    return f"{reply} (order {order})" if order else f"{reply} Which order is it about?"
