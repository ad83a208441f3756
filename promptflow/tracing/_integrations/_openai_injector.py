"""Door: tracing of the ``openai`` SDK under Microsoft's names."""

from promptflow.tracing.injectors import inject as inject_openai_api
from promptflow.tracing.injectors import recover as recover_openai_api

__all__ = ["inject_openai_api", "recover_openai_api"]
