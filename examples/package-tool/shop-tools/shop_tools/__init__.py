"""Tools of a shop. `list_tools` is the entry point ``package_tools``: flows find the tools by their ids."""


def list_tools() -> dict:
    return {
        "shop_tools.postage.postage": {
            "name": "Postage",
            "description": "What it costs to send a parcel",
            "type": "python",
            "module": "shop_tools.postage",
            "function": "postage",
            "inputs": {
                "weight": {"type": ["double"]},
                "country": {"type": ["string"], "default": "DE"},
                "express": {"type": ["bool"], "default": False},
            },
        },
        "shop_tools.money.Money.convert": {
            "name": "Convert money",
            "description": "An amount of euros in another currency",
            "type": "python",
            "module": "shop_tools.money",
            "class_name": "Money",
            "function": "convert",
            "inputs": {
                "fee": {"type": ["double"], "default": 0.0},
                "amount": {"type": ["double"]},
                "currency": {"type": ["string"]},
            },
        },
    }
