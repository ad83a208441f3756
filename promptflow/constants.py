"""Door: Microsoft's public module of constants."""


class FlowType:
    DAG_FLOW = "dag"
    FLEX_FLOW = "flex"
    PROMPTY = "prompty"
