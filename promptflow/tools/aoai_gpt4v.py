"""Door: models on Azure OpenAI that look at images."""

from promptflow.llm.vision_providers import AzureOpenAI

__all__ = ["AzureOpenAI", "list_deployment_names"]


def list_deployment_names(**_: object) -> list[dict[str, str]]:
    """None: deployments are listed by Azure's management plane, which is not asked."""
    return []
