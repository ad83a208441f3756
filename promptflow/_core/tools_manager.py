"""Door: what tool packages decorate their classes and functions with.

Our registry knows tools by their id and our cache knows them by their source, so nothing is left for these to do.
"""

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["enable_cache", "register_api_method", "register_apis", "register_builtin_method", "register_builtins"]


def _keep(f: F) -> F:
    return f


register_apis = register_api_method = register_builtins = register_builtin_method = _keep


def enable_cache(calculate_cache_func: Callable[..., str]) -> Callable[[F], F]:
    """Takes the function that computes a key for the cache, which our cache does not need."""
    return _keep
