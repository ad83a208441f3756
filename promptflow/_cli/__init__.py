"""Doors: the command line under its old private spelling."""
