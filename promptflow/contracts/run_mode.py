"""Door: how a flow is run, under Microsoft's name."""

from enum import StrEnum


class RunMode(StrEnum):
    Test = "Test"
    SingleNode = "SingleNode"
    Batch = "Batch"
