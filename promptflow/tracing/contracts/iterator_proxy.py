"""Door: the iterators of traced streams under Microsoft's names."""

from promptflow.tracing.streams import TracedAsyncIterator as AsyncIteratorProxy
from promptflow.tracing.streams import TracedIterator as IteratorProxy

__all__ = ["AsyncIteratorProxy", "IteratorProxy"]
