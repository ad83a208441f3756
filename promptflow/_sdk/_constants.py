"""Door: constants that tool packages compare connections and runs with."""

from enum import StrEnum

from promptflow._constants import FLOW_DAG_YAML, FLOW_FLEX_YAML, LINE_NUMBER_KEY, PROMPT_FLOW_DIR_NAME

__all__ = [
    "FLOW_DAG_YAML",
    "FLOW_FLEX_YAML",
    "LINE_NUMBER",
    "PROMPT_FLOW_DIR_NAME",
    "ConnectionType",
    "RunStatus",
]

LINE_NUMBER = LINE_NUMBER_KEY


class ConnectionType(StrEnum):
    """What a connection's ``type`` holds."""

    AZURE_OPEN_AI = "AzureOpenAI"
    OPEN_AI = "OpenAI"
    QDRANT = "Qdrant"
    COGNITIVE_SEARCH = "CognitiveSearch"
    SERP = "Serp"
    AZURE_CONTENT_SAFETY = "AzureContentSafety"
    AZURE_AI_SERVICES = "AzureAIServices"
    FORM_RECOGNIZER = "FormRecognizer"
    WEAVIATE = "Weaviate"
    SERVERLESS = "Serverless"
    CUSTOM = "Custom"


class RunStatus(StrEnum):
    """What a run's ``status`` holds."""

    NOT_STARTED = "NotStarted"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELED = "Canceled"
