"""``builtin/words``: vectors of the words in a text. No model to fetch, no meaning either.

Words and parts of words (4 letters; fastText takes 3 to 6) are hashed into buckets (Weinberger et al. 2009) and
weighed by how rare they are in the texts of the index (tf-idf, Salton & Buckley 1988). Texts that share rare words are
near each other, also where their endings differ; those that say the same in other words, or another language, are not.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from promptflow.workspace.optional import need

NAME = "builtin/words"
DIMENSIONS = 2048
PART = 4  # letters
FEATURES = 2**18  # words and parts that are told apart when it is counted how rare they are
_WORD = re.compile(r"[^\W_]+")
_PART_WEIGHT = 0.6  # of a part of a word, against the whole


def word_vectors(texts: Sequence[str], rarity: Any = None) -> tuple[Any, Any]:
    """``(vectors, rarity)``: float32 [texts, DIMENSIONS] of length 1 (0 where there is no word), and float32
    [FEATURES], how rare each word or part is, which questions to the same index need."""
    numpy = need("numpy", extra="rag")
    found = [_counts(text, numpy) for text in texts]
    if rarity is None:
        seen = numpy.zeros(FEATURES, numpy.float32)
        for features, _ in found:
            seen[numpy.unique(features % FEATURES)] += 1
        rarity = numpy.log((0.5 + len(texts)) / (0.5 + seen)).astype(numpy.float32) + 0.1
    vectors = numpy.zeros((len(texts), DIMENSIONS), numpy.float32)
    for at, (features, values) in enumerate(found):
        signs = numpy.where(features >> 31, 1, -1)  # so that what falls together by chance cancels out
        numpy.add.at(vectors[at], features // FEATURES % DIMENSIONS, values * rarity[features % FEATURES] * signs)
    lengths = numpy.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / numpy.where(lengths == 0, 1, lengths), rarity


def _counts(text: str, numpy: Any) -> tuple[Any, Any]:
    """The words of a text and parts of them, as numbers of 32 bits, and 1 + log of how often each is there."""
    found = Counter[str]()
    for word in _WORD.findall(text.lower()):
        found[word] += 1
        marked = f"<{word}>"
        found.update(f"#{marked[at : at + PART]}" for at in range(len(marked) - PART + 1))
    features = numpy.array([zlib.crc32(feature.encode()) for feature in found], numpy.int64)
    weights = ((_PART_WEIGHT if feature.startswith("#") else 1.0) * (1 + math.log(n)) for feature, n in found.items())
    return features, numpy.fromiter(weights, numpy.float32, len(found))
