"""What Prompt flow's own service answered under ``/v1.0``, from the stores of a workspace."""
