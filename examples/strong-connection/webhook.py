"""A connection class of our own, and the tool that uses it: signs a webhook, so that the receiver can trust it."""

import hashlib
import hmac
import json

from promptflow.connections import CustomStrongTypeConnection
from promptflow.contracts.types import Secret
from promptflow.core import tool


class WebhookConnection(CustomStrongTypeConnection):
    """Keys of the sender; ``signing_key`` is stored encrypted and never shown."""

    sender: str
    signing_key: Secret


@tool
def sign(connection: WebhookConnection, event: str, order: int) -> dict:
    body = json.dumps({"sender": connection.sender, "event": event, "order": order})
    signature = hmac.new(connection.signing_key.encode(), body.encode(), hashlib.sha256).hexdigest()
    return {"body": body, "signature": signature}
