"""Vector indexes: texts in pieces, a vector for each, and those that are nearest to a question."""

from promptflow.index.create import create_index
from promptflow.index.index import Hit, Index, VectorIndexError
from promptflow.index.store import Indexes

__all__ = ["Hit", "Index", "VectorIndexError", "Indexes", "create_index"]
