"""`--query`: a part of the result, asked for in JMESPath as scripts for `az` do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from promptflow.cli import formats
from promptflow.cli.errors import UsageError


def search(value: Any, query: str) -> Any:
    """What the query finds in a result; UsageError if it is none."""
    import jmespath  # for this flag only

    plain = json.loads(formats.to_json(value))  # what JSON holds is what a query knows: texts for dates, no tuples
    try:
        return jmespath.search(query, plain)
    except jmespath.exceptions.JMESPathError as error:
        said = " ".join(str(error).split("\n", 1)[0].split())
        raise UsageError(
            f"--query {query}: {said}",
            hint="it is JMESPath: name, tags.team, [].name, [?status=='Failed'].name, tags.\"a-b\"",
        ) from None


def missing(value: Any, query: str) -> str:
    """What there is instead, where a query that names one field finds nothing."""
    name = query.partition(".")[0]
    if not isinstance(value, Mapping) or not name.replace("_", "a").isalnum() or name in value:
        return ""
    return f"--query {query}: there is no such field; there are: {', '.join(map(str, value))}"


def to_lines(found: Any) -> str:
    """As `az … -o tsv` writes it, for scripts: a line for each, the values of one between tabs, and no heading."""
    rows = found if isinstance(found, list) else [] if found is None else [found]
    return "\n".join(_line(row) for row in rows)


def _line(row: Any) -> str:
    values = list(row.values()) if isinstance(row, Mapping) else row if isinstance(row, list) else [row]
    return "\t".join(formats.one_line(formats.cell(value)) for value in values)
