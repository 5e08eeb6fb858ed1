"""The report's part on leaks: what the accuracies are with and without test images that resemble train."""

from collections.abc import Mapping
from typing import Any

from stages.lib.report_words import in_order

TEMPLATE = "report_leaks.html.jinja"


def leak_part(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return what report_leaks.html.jinja shows: a sentence, and a row a prediction where anything leaks."""
    found = results["duplicate_tax"]
    records = found["predictions"]
    return {
        "leaks_template": TEMPLATE,
        "leak_meaning": found["meaning"],
        "leak_rows": [
            (name, records[name]) for name in in_order(list(records)) if records[name]["tax"] is not None
        ],
    }
