"""What answers inside the process of a deployment: a ``score.py``, a model of any flavour, a flow."""
