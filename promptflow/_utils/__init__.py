"""Doors to Microsoft's private helpers that tool packages import."""
