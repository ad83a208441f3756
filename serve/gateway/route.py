"""An endpoint as the gateway knows it at one moment: its door, its shares, and the lanes of its deployments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from serve.endpoints.records import Endpoint
from serve.gateway.capture import Capture
from serve.gateway.door import Door
from serve.gateway.lane import Lane
from serve.gateway.refusals import Refusal, retry_after
from serve.gateway.traffic import Mirror, Split

STICKY = b"x-pf-sticky"  # a request's own word that its kind is to go to one deployment
STICKY_PROPERTY = "pf.sticky_header"  # an endpoint's: the header that says who asks
PIN = b"azureml-model-deployment"


@dataclass(frozen=True)
class Route:
    """Made anew when the endpoint changes; lanes and captures are those of before."""

    endpoint: Endpoint
    door: Door
    split: Split
    mirror: Mirror
    lanes: Mapping[str, Lane]
    captures: Mapping[str, Capture] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.endpoint.name

    def choose(self, headers: Mapping[bytes, bytes]) -> str:
        """The deployment that answers: the one a request names, the one it sticks to, or the next in turn."""
        pinned = headers.get(PIN)
        if pinned:
            name = pinned.decode("latin-1")
            if name not in self.lanes:
                raise Refusal(404, "NotFound", f"The endpoint '{self.name}' has no deployment of that name.")
            return name
        if not self.split:
            raise Refusal(503, "NoTraffic", f"No deployment of '{self.name}' gets traffic.", retry_after(10))
        own = self.endpoint.properties.get(STICKY_PROPERTY, "")
        who = headers.get(STICKY) or (headers.get(own.lower().encode()) if own else None)
        return self.split.stick(who) if who else self.split.pick()
