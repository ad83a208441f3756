"""Door: how a flow is run, under Microsoft's name."""

from enum import Enum


class RunMode(str, Enum):
    Test = "Test"
    SingleNode = "SingleNode"
    Batch = "Batch"
