from __future__ import annotations

from collections import Counter

import pytest

np = pytest.importorskip("numpy")

from serve.engines.base import EngineFailedError  # noqa: E402
from serve.engines.sampling import HEAD, Choice, draw, head, pick, weighed  # noqa: E402

LOGITS = np.log(np.array([0.1, 0.6, 0.05, 0.25], dtype=np.float32))


def drawn(top_p: float, temperature: float = 1.0, top_k: int = 0, count: int = 4000) -> Counter[int]:
    random = np.random.default_rng(3)
    return Counter(pick(LOGITS, Choice(temperature, top_p, top_k), random).token for _ in range(count))


def test_temperature_zero_takes_the_likeliest() -> None:
    assert pick(LOGITS, Choice(0.0), np.random.default_rng(0)).token == 1


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    counts = drawn(top_p=1.0)
    shares = [counts[token] / 4000 for token in range(4)]
    assert shares == pytest.approx([0.1, 0.6, 0.05, 0.25], abs=0.03)


@pytest.mark.parametrize(("top_p", "tokens"), [(0.5, {1}), (0.7, {1, 3}), (0.9, {0, 1, 3}), (1.0, {0, 1, 2, 3})])
def test_top_p_keeps_the_likeliest_tokens_only(top_p: float, tokens: set[int]) -> None:
    assert set(drawn(top_p)) == tokens


def test_a_low_temperature_sharpens() -> None:
    assert drawn(1.0, temperature=0.2)[1] > drawn(1.0, temperature=1.0)[1]


def test_logprobs_are_those_of_the_model_whatever_the_temperature() -> None:
    picked = pick(LOGITS, Choice(0.0, logprobs=2), np.random.default_rng(0))
    assert picked.logprob == pytest.approx(np.log(0.6), abs=1e-5)
    assert [token for token, _ in picked.top] == [1, 3]


def test_logprobs_are_not_computed_unasked() -> None:
    assert pick(LOGITS, Choice(0.0), np.random.default_rng(0)).top == ()


@pytest.mark.parametrize(("top_k", "tokens"), [(1, {1}), (2, {1, 3}), (3, {0, 1, 3}), (9, {0, 1, 2, 3})])
def test_top_k_keeps_the_likeliest_tokens_only(top_k: int, tokens: set[int]) -> None:
    assert set(drawn(1.0, top_k=top_k)) == tokens


def test_top_p_holds_in_a_vocabulary_larger_than_the_head_that_is_sorted_first() -> None:
    flat = np.zeros(4 * HEAD, np.float32)
    random = np.random.default_rng(1)
    seen = {draw(flat, 0.5, 0, random) for _ in range(20_000)}
    assert max(seen) < 2 * HEAD + 2 and len(seen) > 1.9 * HEAD


def test_the_head_is_that_of_a_whole_sort() -> None:
    values = np.random.default_rng(5).permutation(1000).astype(np.float32)
    assert head(values, 70).tolist() == np.argsort(-values, kind="stable")[:70].tolist()


def test_biases_and_penalties_leave_the_models_logits_alone() -> None:
    before = LOGITS.copy()
    after = weighed(LOGITS, {0: 5.0}, {1: 2, 3: 1}, frequency=1.0, presence=0.5)
    assert (after - before).tolist() == pytest.approx([5.0, -2.5, 0.0, -1.5])
    assert (before == LOGITS).all()


def test_every_token_of_a_large_vocabulary_can_be_drawn_as_often_as_it_is_likely() -> None:
    logits = np.random.default_rng(2).normal(size=2000).astype(np.float32)
    random = np.random.default_rng(1)
    drawn = np.bincount([draw(logits, 1.0, 0, random) for _ in range(50_000)], minlength=2000)
    chances = np.exp(logits) / np.exp(logits).sum()
    likely = np.argsort(-chances)[:20]
    assert drawn[likely] / 50_000 == pytest.approx(chances[likely], rel=0.25)
    assert drawn[:512].sum() / 50_000 == pytest.approx(chances[:512].sum(), abs=0.01)
    assert (drawn > 0).sum() > 1900


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_scores_that_are_no_numbers_are_an_error(value: float, temperature: float) -> None:
    with pytest.raises(EngineFailedError, match="no numbers"):
        pick(np.full(8, value, np.float32), Choice(temperature), np.random.default_rng(0))
