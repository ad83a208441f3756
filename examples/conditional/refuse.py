from promptflow.core import tool


@tool
def refuse() -> str:
    return "sorry, no refund after 30 days"
