"""The report's table of what a network costs beside what it is worth: one member, the ensemble, the student.

Times are no part of it: they are not the same twice, and the page is (`assay costs` measures them).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.lib import report_words
from stages.lib.prior_findings import Folders
from stages.lib.scored_rows import Evaluation
from stages.lib.scores import seed_names

Record = Mapping[str, Any]

TEMPLATE = "report_costs.html.jinja"


def costs_part(evaluation: Evaluation, folders: Folders) -> dict[str, Any]:
    """Return what report_costs.html.jinja shows."""
    agreement = evaluation.results["student_agreement"]["test"]
    return {
        "costs_template": TEMPLATE,
        "cost_rows": cost_rows(evaluation, folders),
        "agreement_sentence": agreement_sentence(agreement) if agreement else "",
    }


def cost_rows(evaluation: Evaluation, folders: Folders) -> list[dict[str, Any]]:
    """Return a row for one member, the ensemble and the student, as far as their sizes are recorded."""
    seeds = seed_names(list(evaluation.entries))
    members = [found for name in seeds if (found := _sizes(folders.train / name / "network.json"))]
    sizes: dict[str, tuple[Record, int]] = {}
    if members and len(members) == len(seeds):
        sizes[seeds[0]] = members[0], 1
        total = {key: sum(one[key] for one in members) for key in ("n_parameters", "flops_per_image")}
        sizes["ensemble"] = total, len(members)
    if student := _sizes(folders.distill / "metrics.json"):
        sizes["student"] = student, 1
    test = evaluation.results["test"]
    return [
        {
            "name": name,
            "n_networks": n,
            "n_parameters": size["n_parameters"],
            "mflops": size["flops_per_image"] / 1e6,
            "record": test[name],
        }
        for name, (size, n) in sizes.items()
        if name in test
    ]


def _sizes(path: Path) -> Record | None:
    """Return a record that holds both sizes; None where it does not."""
    try:
        found: Record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found if {"n_parameters", "flops_per_image"} <= found.keys() else None


def agreement_sentence(agreement: Record) -> str:
    """Return how often the student says what the ensemble says."""
    share, span = report_words.percent(agreement["agreement"]), report_words.span(agreement["agreement_ci"])
    return f"The student says what the ensemble says for {share} ({span}) of {agreement['n']:,} test images."
