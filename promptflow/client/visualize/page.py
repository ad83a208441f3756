"""The comparison page: one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from importlib.resources import files

from promptflow.client.visualize.content import page_content
from promptflow.entities.run import Run
from promptflow.storage.encode import to_json

_UNSAFE: dict[str, str | int | None] = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def render_page(runs: Sequence[Run]) -> str:
    """The page for one run, or for several side by side."""
    folder = files("promptflow.client.visualize")
    content = page_content(runs)
    parts = {
        "TITLE": html.escape(" · ".join(run.display_name or run.name for run in runs)[:120]),
        "CSS": (folder / "page.css").read_text(encoding="utf-8"),
        "JS": (folder / "page.js").read_text(encoding="utf-8"),
        "DATA": to_json(content).decode("utf-8").translate(str.maketrans(_UNSAFE)),
    }
    page = (folder / "page.html").read_text(encoding="utf-8")
    return re.sub(r"__(TITLE|CSS|JS|DATA)__", lambda marker: parts[marker[1]], page)
