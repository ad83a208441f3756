"""The parts of Azure ML's first SDK that scripts of deployments import."""

from azureml.core.model import Model as Model
from azureml.core.run import Run as Run
