import pytest

from promptflow.workspace.sizes import parse_size, size_text


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), (1024, 1024), ("1.5 kB", 1500), ("500MB", 500_000_000), ("2 GiB", 2 << 30), ("1T", 10**12)],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1", "1XB", "nan", "inf", "MB", None, True])
def test_what_is_no_size(text: object) -> None:
    assert parse_size(text) is None


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2 * 10**13, "20.0 TB")])
def test_as_text(size: int, text: str) -> None:
    assert size_text(size) == text
