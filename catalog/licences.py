"""Which licences need a word of the user before a model is pulled."""

from __future__ import annotations

from catalog.hubinfo import ModelInfo

# Free for every use, on conditions such as naming the author; as the hub's lists call them.
_OPEN = frozenset(
    """
    apache-2.0 mit bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear isc zlib unlicense cc0-1.0 cc-by-4.0 cc-by-3.0
    cc-by-2.0 cc-by-sa-4.0 cc-by-sa-3.0 mpl-2.0 lgpl-2.1 lgpl-3.0 gpl-2.0 gpl-3.0 gpl agpl-3.0 artistic-2.0 bsl-1.0
    ecl-2.0 epl-2.0 eupl-1.1 eupl-1.2 postgresql wtfpl ncsa afl-3.0 pddl odc-by odbl cdla-permissive-2.0 ms-pl osl-3.0
    """.split()
)


def is_open(licence: str) -> bool:
    return licence.lower() in _OPEN


def needs_word(model: ModelInfo) -> bool:
    """A gated model, or one whose licence has conditions of its own. One that names none gives nothing to accept."""
    return bool(model.gated) or bool(model.licence) and not is_open(model.licence)


def licence_text(model: ModelInfo) -> str:
    """How to call the licence in a question."""
    link = model.card.get("license_link")
    named = model.licence or "no licence named"
    return f"{named} ({link})" if isinstance(link, str) and link.startswith("http") else named
