from promptflow.core import tool


@tool
def decision(approved: str = "", asked: str = "", repaired: str = "", refused: str = "") -> str:
    """The one branch that ran: inputs from bypassed nodes are left out, so that the defaults count."""
    return approved or asked or repaired or refused
