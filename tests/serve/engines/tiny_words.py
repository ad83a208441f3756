"""The vocabulary and the numbers of the decoder that `make_tiny.py` makes."""

from __future__ import annotations

import numpy as np

WORDS = ["<end>", "red", "green", "blue", "round", "square", "flat", "tall", "old", "new", "one", "two"]
SIZE = 4


def tables() -> tuple[np.ndarray, np.ndarray]:
    """A vector per word, and the matrix that turns a sum of vectors into scores."""
    random = np.random.default_rng(11)
    vectors = random.normal(size=(len(WORDS), SIZE)).astype(np.float32)
    matrix = random.normal(size=(SIZE, len(WORDS))).astype(np.float32)
    matrix[:, 0] = 0
    return vectors, matrix
