"""One HTML page that compares runs."""

from promptflow.client.visualize.page import render_page

__all__ = ["render_page"]
