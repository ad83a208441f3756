"""Who gets the message, and how soon."""

from promptflow.core import tool

TEAMS = {
    "refund": "payments",
    "billing": "payments",
    "cancel_order": "orders",
    "delivery_status": "orders",
    "technical_issue": "technicians",
    "account_access": "accounts",
    "product_question": "sales",
    "feedback": "community",
}


@tool
def route(intent: str, sentiment: str) -> dict:
    team = TEAMS.get(intent.strip(), "a person")
    return {"team": team, "urgent": sentiment.strip() == "negative" and intent != "feedback"}
