import base64

import pytest

from promptflow.contracts.multimedia import Image, Text
from promptflow.exceptions import InvalidImageInput
from promptflow.executor.image_url import check_public
from promptflow.executor.multimedia import create_image, images_to_base64, load_images, persist_images
from tests.promptflow.flowkit import dag, load

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    return tmp_path


@pytest.mark.parametrize(
    ("value", "message_format"),
    [
        ({"data:image/png;path": "a.png"}, "basic"),
        ({"data:image/*;path": "a.png"}, "basic"),
        ({"data:image/png;base64": base64.b64encode(PNG).decode()}, "basic"),
        ("a.png", "basic"),
        (base64.b64encode(PNG).decode(), "basic"),
        ("data:image/png;base64," + base64.b64encode(PNG).decode(), "basic"),
        ({"type": "image_file", "image_file": {"path": "a.png"}}, "openai-vision"),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(PNG).decode()}},
            "openai-vision",
        ),
    ],
)
def test_every_json_form_of_an_image_is_read(folder, value, message_format):
    image = create_image(value, folder, message_format)

    assert bytes(image) == PNG and image._mime_type == "image/png"


@pytest.mark.parametrize(
    "value", [{"data:image/png;path": "none.png"}, {"data:image/png;base64": "???"}, {}, "", 3, None]
)
def test_what_is_no_image_is_refused(folder, value):
    with pytest.raises(InvalidImageInput):
        create_image(value, folder)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.8", "192.168.1.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"]
)
def test_private_addresses_are_not_fetched(address):
    with pytest.raises(PermissionError):
        check_public(address)


def test_an_image_url_of_this_machine_is_refused(folder):
    with pytest.raises(InvalidImageInput, match="http://127.0.0.1:9/x.png"):
        create_image({"data:image/png;url": "http://127.0.0.1:9/x.png"}, folder)


def test_images_travel_out_as_files_or_base64(folder):
    value = load_images({"list": [{"data:image/png;path": "a.png"}, "text"]}, folder)
    assert isinstance(value["list"][0], Image)

    persisted = persist_images(value, folder / "out")
    [(key, name)] = persisted["list"][0].items()
    assert key == "data:image/png;path" and (folder / "out" / name).read_bytes() == PNG
    assert create_image(images_to_base64(value)["list"][0], folder) == value["list"][0]


def test_text_parts_of_the_vision_format_become_text(folder):
    [text] = load_images([{"type": "text", "text": "hello"}], folder, "openai-vision")

    assert text == "hello" and isinstance(text, Text)


def test_image_inputs_reach_the_tool_as_images(folder):
    yaml = """
    inputs:
      picture: {type: image, default: a.png}
      history: {type: list, default: []}
    outputs: {o: {type: object, reference: "${a.output}"}}
    nodes:
    - {name: a, type: python, source: {type: code, path: a.py}, inputs: {p: "${inputs.picture}", h: "${inputs.history}"}}
    """
    code = """
    from promptflow.core import tool
    from promptflow.contracts.multimedia import Image

    @tool
    def a(p: Image, h: list):
        return {"kind": type(p).__name__, "history": [type(i).__name__ for i in h], "again": p}
    """
    executor = load(dag(folder, yaml, a_py=code))

    result = executor.run_line({"history": ["x", {"data:image/png;path": "a.png"}]})

    assert result.exception is None
    assert result.output["o"] == {"kind": "Image", "history": ["str", "Image"], "again": Image(PNG)}
