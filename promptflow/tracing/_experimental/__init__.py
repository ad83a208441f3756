"""Door."""

from promptflow.tracing._trace import enrich_prompt_template

__all__ = ["enrich_prompt_template"]
