"""Sentences on how far to trust the model: choices, wrong labels, unlike networks, not answering."""

from collections.abc import Mapping
from typing import Any

from stages.lib import report_words

Record = Mapping[str, Any]

VIEWS = {
    "none": "no further view of an image",
    "listed": "all listed views of an image",
    "added": "some of the listed views of an image",
}
COMBINATIONS = {
    "mean": "the plain mean of the networks' probabilities",
    "geometric": "the geometric mean of the networks' probabilities (the mean of their logits)",
    "weighted": "a weighted mean of the networks",
    "greedy": "a greedy selection of the networks, with replacement",
    "soup": "one network whose weights are the mean of all networks'",
    "greedy_soup": "one network whose weights are the mean of those networks' that help",
}


def chosen_sentence(chosen: Mapping[str, str]) -> str:
    """Return what val chose of views and combinations; empty where nothing was chosen."""
    if not chosen:
        return ""
    sentence = f"By log loss val chose {VIEWS[chosen['views']]}, and {COMBINATIONS[chosen['combination']]}."
    refused = chosen.get("soup_refused")
    return sentence + (f" The networks' weights were not averaged: {refused}." if refused else "")


def truth_sentence(found: Record) -> str:
    """Return what is known of the accuracy against the truth, where test labels may be wrong."""
    record, percent = found["audited"], report_words.percent
    if record is not None:
        return (
            f"People checked {record['n_checked']:,} random test labels and found {record['n_wrong_labels']} "
            f"wrong ({percent(record['noise_rate'])}; {report_words.span(record['noise_rate_ci'])}). Against "
            f"the truth the model is right in {percent(record['top1_accuracy'])} "
            f"({report_words.span(record['top1_accuracy_ci'])}; n = {record['n']:,})."
        )
    asked = (
        "Check some: assay audit lists random test images, and 200 of them give a figure with an interval."
    )
    if found["bounds"] is None:
        return f"How many test labels are wrong is not known. {asked}"
    low, high = found["bounds"]
    return (
        f"If as many test labels are wrong as label_noise estimates, the true accuracy lies between "
        f"{percent(low)} and {percent(high)}: no more can be said without checked labels. {asked}"
    )


def diversity_sentence(diversity: Record | None, n: int) -> str:
    """Return how far the networks differ, which is what an ensemble lives on; empty with one network."""
    if diversity is None:
        return ""
    return (
        f"Two of the networks name different classes for {report_words.percent(diversity['disagreement'])} "
        f"of {n:,} test images; {report_words.percent(diversity['both_wrong'])} both miss, which no mean can "
        "mend. Where they hardly differ, more networks bring little: vary data or architecture instead."
        + _alike_sentence(diversity)
    )


def _alike_sentence(diversity: Record) -> str:
    q, kappa = diversity.get("q_statistic"), diversity.get("kappa")
    if q is None or kappa is None:
        return ""
    return f" Right on the same images: kappa {kappa:.2f}, Yule's Q {q:.2f} (1 always, 0 by chance)."


def abstention_sentence(point: Record | None) -> str:
    """Return what the model is worth when it may say "not sure"."""
    if point is None:
        return "There are no val images to choose a threshold on: the model always answers."
    percent = report_words.percent
    if point["n_answered"] == 0:
        return (
            f"No confidence keeps errors on val at {percent(point['max_error'])} or less: at that bound the "
            "model would answer nothing. Allow more errors, or find what the surest wrong answers share."
        )
    asked = (
        f"On val ({point['n_val']:,} images) at most {percent(point['max_error'])} of the answers are wrong"
    )
    when = (
        "when every image is answered"
        if point["threshold"] == 0
        else f"when images with a confidence under {percent(point['threshold'])} are left to people"
    )
    return (
        f"{asked} {when}. On test this answers {percent(point['coverage'])} of {point['n']:,} images, of "
        f"which {percent(point['risk'])} are wrong ({report_words.span(point['risk_ci'])})."
    )


def slices_sentence(summary: Record) -> str:
    """Return how many slices were looked at, and what came of it."""
    if not summary["n_tested"]:
        return "No class, kind of picture, group or size has enough test images to be held against the rest."
    looked = f"{report_words.plural(summary['n_tested'], 'slice')} of test held against the rest"
    if not summary["n_worse"]:
        return f"{looked}: none is worse than chance explains, once corrected for how many were looked at."
    return (
        f"{looked}: {summary['n_worse']} fare worse than chance explains, once corrected for how many were "
        "looked at. Look at their images first, and collect more of them."
    )
