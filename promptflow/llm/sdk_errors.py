"""For tools that call OpenAI's own SDK: its errors as ours, with the same retries as our calls."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from promptflow.exceptions import LLMError, PromptflowException
from promptflow.llm import pressure
from promptflow.llm.failures import Failure, user_error
from promptflow.llm.retry import RetryPolicy, retry_after_seconds

logger = logging.getLogger(__name__)

_DROPPED = ("connection aborted", "server disconnected without sending a response")


def handle_openai_error(tries: int = 10, unprocessable_entity_error_tries: int = 3) -> Callable[[Any], Any]:
    """Decorate a function that calls the SDK: busy servers are asked again, other errors become WrappedOpenAIError."""
    policy = RetryPolicy(retries=tries, unprocessable_tries=unprocessable_entity_error_tries)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            attempt = unprocessable = 0
            while True:
                try:
                    return function(*args, **kwargs)
                except PromptflowException:
                    raise
                except Exception as error:
                    failure = _failure(error)
                    unprocessable = unprocessable + 1 if failure.status == 422 else 0
                    wait = policy.wait(failure, attempt, unprocessable)
                    if failure.overloaded:
                        pressure.tell(retry_after_seconds(failure.retry_after))
                    if wait is None:
                        raise user_error(policy.explained(failure), attempt) from error
                    attempt += 1
                    logger.warning("%s; try %d of %d in %.1f s.", failure.message, attempt, tries, wait)
                    time.sleep(wait)

        return wrapper

    return decorate


def _failure(error: Exception) -> Failure:
    """An error of the SDK as a failure; raises LLMError for any other."""
    kind = type(error).__name__
    if type(error).__module__.partition(".")[0] != "openai":
        raise LLMError(f"OpenAI API hits exception: {kind}: {error}") from error
    response = getattr(error, "response", None)
    quota = "insufficient_quota" in (getattr(error, "type", None), getattr(error, "code", None))
    words = f"{error} {error.__cause__}".lower()
    return Failure(
        kind=kind,
        message=str(error),
        status=getattr(error, "status_code", 0) or 0,
        code="insufficient_quota" if quota else "",
        retry_after=response.headers.get("retry-after", "") if response is not None else "",
        dropped=any(text in words for text in _DROPPED),
    )
