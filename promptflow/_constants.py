"""Door: constants of Microsoft's that user code reads."""

DEFAULT_ENCODING = "utf-8"
FLOW_DAG_YAML = "flow.dag.yaml"
FLOW_FLEX_YAML = "flow.flex.yaml"
LINE_NUMBER_KEY = "line_number"
PROMPT_FLOW_DIR_NAME = ".promptflow"
PROMPTFLOW_CONNECTIONS = "PROMPTFLOW_CONNECTIONS"
PROMPTY_EXTENSION = ".prompty"
