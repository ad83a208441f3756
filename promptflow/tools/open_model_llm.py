"""Door: open-weight models behind OpenAI-compatible servers."""

from promptflow.llm.open_model import OpenModelLLM

__all__ = ["OpenModelLLM"]
