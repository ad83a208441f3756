from promptflow.core import tool


@tool
def grade(label: str, prediction: str) -> str:
    return "right" if prediction.strip().lower() == label.strip().lower() else "wrong"
