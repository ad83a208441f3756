"""Which traffic rules an endpoint may have. How a request is sent by them is the gateway's business."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from promptflow.exceptions import ValidationException
from serve.endpoints.errors import EndpointConflictError

_PAIR = re.compile(r"([^=]+)=([^=]+)")


def parse_traffic(text: str) -> dict[str, int]:
    """``blue=90 green=10``, with spaces or commas between; ``""`` is no traffic."""
    found: dict[str, int] = {}
    for part in filter(None, re.split(r"[,\s]+", text)):
        pair = _PAIR.fullmatch(part)
        if pair is None:
            raise ValidationException(f"{part!r} is no share of traffic.", hint='such as "blue=90 green=10"')
        if pair[1] in found:
            raise ValidationException(f"The share of '{pair[1]}' is given twice.")
        found[pair[1]] = share(pair[1], pair[2])
    return found


def share(name: str, value: object) -> int:
    """A share in percent, as a number or its text."""
    whole = str(value).strip().removesuffix("%")
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,3}(\.0+)?", whole) or int(float(whole)) > 100:
        raise ValidationException(f"The share of '{name}' is {value!r}, and is a whole number from 0 to 100 (percent).")
    return int(float(whole))


def check_traffic(traffic: Mapping[str, int], mirror: Mapping[str, int], deployments: Collection[str]) -> None:
    """ValidationException for rules that no request could follow."""
    for name in [*traffic, *mirror]:
        if name not in deployments:
            there = f"there are {', '.join(sorted(deployments))}" if deployments else "there is none yet"
            raise ValidationException(f"Traffic goes to '{name}', which is no deployment: {there}.")
    total = sum(traffic.values())
    if total not in (0, 100):
        shares = " + ".join(f"{name}={value}" for name, value in traffic.items())
        raise ValidationException(
            f"The shares of traffic add up to {total}: {shares}.", hint="they add up to 100, or to 0 for none at all"
        )
    for name, value in mirror.items():
        if value and traffic.get(name):
            raise ValidationException(
                f"'{name}' gets live traffic, and would get a copy of it, too.",
                hint="a deployment gets one or the other",
            )


def without(shares: Mapping[str, int], name: str) -> dict[str, int]:
    """The rules without a deployment that goes. EndpointConflictError while it has traffic."""
    if shares.get(name):
        raise EndpointConflictError(
            f"The deployment '{name}' has {shares[name]} % of the traffic.",
            hint=f'send it elsewhere first: pf endpoint update --name ENDPOINT --traffic "{name}=0 OTHER=100"',
        )
    return {other: value for other, value in shares.items() if other != name}
