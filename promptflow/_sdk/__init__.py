"""Doors: the SDK under its old private spelling."""
