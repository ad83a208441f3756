"""Where instances are to run: how it is written, and what it changes."""

from __future__ import annotations

import pytest

from promptflow.exceptions import ValidationException
from serve.endpoints.deployment_file import read_deployment
from serve.endpoints.spec import Spec
from serve.placement.place import RayPlace, place_of
from serve.supervisor.decide import generation_of


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", None),
        (None, None),
        ("Standard_DS3_v2", None),
        ("raytracer", None),
        ("ray:", RayPlace(1.0, 0.0)),
        ("ray:gpu=1", RayPlace(1.0, 1.0)),
        ("ray:cpu=0.5,gpu=2,accelerator=1", RayPlace(0.5, 2.0, {"accelerator": 1.0})),
    ],
)
def test_a_place_is_read(text: str | None, place: RayPlace | None) -> None:
    assert place_of(text) == place


@pytest.mark.parametrize(
    "text", ["ray:gpu", "ray:gpu=one", "ray:gpu=-1", "ray:gpu=nan", "ray:=1", "ray:cpu=1,cpu=2", "ray://head:cpu=1"]
)
def test_what_is_no_place_is_told(text: str) -> None:
    with pytest.raises(ValidationException):
        place_of(text)
    with pytest.raises(ValidationException, match="instance_type"):
        read_deployment({"name": "blue", "endpoint_name": "shop", "model": "any:1", "instance_type": text}, None)  # type: ignore[arg-type]


def test_why_rays_client_is_no_way_to_an_instance_is_told() -> None:
    with pytest.raises(ValidationException, match="which go to the nodes directly") as caught:
        place_of("ray://head:10001")
    assert "RAY_ADDRESS=HOST:PORT in the nodes' network" in caught.value.hint


def test_an_instance_that_moves_is_another_one() -> None:
    def of(text: str) -> str:
        return generation_of(Spec("script", recorded={"instance_type": text}))

    assert of("Standard_DS3_v2") == of("Standard_F2s") == generation_of(Spec("script"))
    assert len({of("Standard_F2s"), of("ray:gpu=1"), of("ray:gpu=2")}) == 3
