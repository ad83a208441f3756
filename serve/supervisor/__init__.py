"""Keeps as many instances running as the deployments ask for: start, watch, replace, end."""
