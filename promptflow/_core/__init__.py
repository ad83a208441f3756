"""Doors to Microsoft's private spellings."""
