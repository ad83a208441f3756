"""Tools that call OpenAI's SDK themselves get the same retries and errors."""

from __future__ import annotations

from typing import Any

import pytest

from promptflow.exceptions import ExceedMaxRetryTimes, LLMError, MissingRequiredInputError, WrappedOpenAIError
from promptflow.llm.sdk_errors import handle_openai_error
from tests.fake_model import ModelServer, Reply

openai = pytest.importorskip("openai")
SOON = {"Retry-After": "0.01"}


def ask(server: ModelServer, tries: int = 2) -> Any:
    client = openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0)

    @handle_openai_error(tries=tries)
    def call() -> Any:
        messages = [{"role": "user", "content": "hi"}]
        return client.chat.completions.create(model="m", messages=messages).choices[0].message.content

    with client:
        return call()


def test_a_busy_server_is_asked_again(model_server: ModelServer) -> None:
    model_server.script(Reply.error(429, headers=SOON), Reply.error(503, headers=SOON))
    assert ask(model_server) == "hi"


def test_a_server_that_stays_busy_is_given_up(model_server: ModelServer) -> None:
    model_server.script(*[Reply.error(429, headers=SOON)] * 3)
    with pytest.raises(ExceedMaxRetryTimes) as caught:
        ask(model_server)
    assert caught.value.error_codes == ["UserError", "OpenAIError", "RateLimitError"]


def test_a_refusal_is_an_error_at_once(model_server: ModelServer) -> None:
    model_server.script(Reply.error(401, "no"))
    with pytest.raises(WrappedOpenAIError, match="AuthenticationError"):
        ask(model_server)
    assert len(model_server.requests) == 1


@pytest.mark.parametrize(("raised", "seen"), [(ValueError("x"), LLMError), (MissingRequiredInputError("x"),) * 2])
def test_other_errors_are_named(raised: Exception, seen: Any) -> None:
    @handle_openai_error()
    def call() -> None:
        raise raised

    with pytest.raises(seen if isinstance(seen, type) else type(seen)):
        call()
