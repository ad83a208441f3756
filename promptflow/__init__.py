"""Prompt flow, at home on your own machines."""
