from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")

from serve.engines.batch import Batch, extend, join, keep, pad_prompts  # noqa: E402


def batch(*lengths: int) -> Batch:
    """Rows of these lengths; a row's cache holds 1, 2, 3… at its own places."""
    ids, mask = pad_prompts([list(range(1, length + 1)) for length in lengths])
    return Batch(mask, [ids[:, None, :, None].astype(np.float32)])


def rows_of(batch: Batch) -> list[list[int]]:
    values = batch.cache[0][:, 0, :, 0].astype(int)
    return [row[mask == 1].tolist() for row, mask in zip(values, batch.mask, strict=True)]


def test_prompts_are_padded_on_the_left() -> None:
    ids, mask = pad_prompts([[7], [8, 9, 10]])
    assert ids.tolist() == [[0, 0, 7], [8, 9, 10]]
    assert mask.tolist() == [[0, 0, 1], [1, 1, 1]]


@pytest.mark.parametrize(("first", "second"), [((2, 5), (3,)), ((1,), (4, 2)), ((3,), (3,))])
def test_joined_rows_keep_their_own_past(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    joined = join(batch(*first), batch(*second))
    assert rows_of(joined) == [list(range(1, length + 1)) for length in (*first, *second)]
    assert joined.mask[:, -1].all()


def test_rows_that_stay_lose_the_padding_that_only_others_needed() -> None:
    kept = keep(batch(6, 2, 3), [1, 2])
    assert kept.length == 3
    assert rows_of(kept) == [[1, 2], [1, 2, 3]]


def test_a_step_shows_one_more_token_in_every_row() -> None:
    assert extend(batch(1, 2)).tolist() == [[0, 1, 1], [1, 1, 1]]
