import json
from collections import namedtuple
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import pytest

from promptflow.connections import CustomConnection
from promptflow.contracts.multimedia import Image, Text
from promptflow.storage.encode import image_files, to_json

PNG = b"\x89PNG\r\n\x1a\nrest"


@dataclass
class Point:
    x: int
    y: object


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.5, None, True, "é"]}, {"a": [1, 2.5, None, True, "é"]}),
        (float("nan"), None),
        ({1: "int key", None: 2}, {"1": "int key", "null": 2}),
        (Point(1, Point(2, "z")), {"x": 1, "y": {"x": 2, "y": "z"}}),
        (Colour.RED, "red"),
        ({3}, [3]),
        ((1, 2), [1, 2]),
        (namedtuple("N", "a")(1), [1]),
        (b"bytes", "Ynl0ZXM="),
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05Z"),
        (Text("note"), "note"),
        (2**70, 2**70),
        ({"when": datetime(2026, 1, 2), "big": 2**70}, {"when": "2026-01-02T00:00:00Z", "big": 2**70}),
        ("\ud800", "\ud800"),
        (object, "<class 'object'>"),
    ],
)
def test_values_as_json(value, expected):
    assert json.loads(to_json(value)) == expected


def test_a_connection_never_shows_its_keys():
    connection = CustomConnection(name="c", configs={"a": "config"}, secrets={"key": "topsecret"})
    assert to_json({"c": connection}) == b'{"c":"CustomConnection"}'


def test_numpy_values():
    numpy = pytest.importorskip("numpy")
    assert json.loads(to_json({"a": numpy.array([1, 2]), "b": numpy.float32(0.5)})) == {"a": [1, 2], "b": 0.5}


@pytest.mark.parametrize(
    ("message_format", "absolute", "shape"),
    [
        ("basic", True, lambda path: {"data:image/png;path": path}),
        ("basic", False, lambda path: {"data:image/png;path": path.rpartition("/")[2]}),
        ("openai-vision", True, lambda path: {"type": "image_file", "image_file": {"path": path}}),
    ],
)
def test_images_become_files(tmp_path, message_format, absolute, shape):
    default = image_files(tmp_path, message_format, absolute=absolute)
    found = json.loads(to_json([Image(PNG), {"again": Image(PNG)}], default))
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == PNG
    assert file.suffix == ".png"
    assert found == [shape(file.as_posix()), {"again": shape(file.as_posix())}]


def test_an_image_from_the_web_stays_a_url(tmp_path):
    default = image_files(tmp_path, "basic", absolute=True)
    image = Image(PNG, source_url="http://example.test/a.png")
    assert json.loads(to_json(image, default)) == {"data:image/png;url": "http://example.test/a.png"}
    assert list(tmp_path.iterdir()) == []
