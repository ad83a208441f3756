from promptflow.core import tool

NEAR = {"AT", "BE", "CZ", "DK", "FR", "LU", "NL", "PL"}


@tool
def postage(weight: float, country: str = "DE", express: bool = False) -> float:
    """Euros for a parcel of ``weight`` kilograms."""
    base = 4.5 if country == "DE" else 9.0 if country in NEAR else 16.0
    return round(base + 0.9 * weight + (7.5 if express else 0), 2)
