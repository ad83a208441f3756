"""Door: models on OpenAI that look at images."""

from promptflow.llm.vision_providers import OpenAI

__all__ = ["OpenAI"]
