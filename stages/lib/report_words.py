"""The sentences of the report: what a number says and what to do about it, chosen by the numbers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from stages.lib.comparisons import BASELINES
from stages.lib.ingredients import described
from stages.lib.metrics import ClassScore
from stages.lib.prior_findings import Findings

Record = Mapping[str, Any]

DESCRIPTIONS = {
    "dummy": "guesses by the class shares of train, blind to the image",
    "dummy_most_frequent": "always names the largest class of train",
    "dummy_zeros": "a network that was only ever shown black images: it can know the class shares, no more",
    "dummy_noise": "a network that was only ever shown noise: what it knows, no picture told it",
    "dummy_histogram": "a network shown each image's pixels sorted by light: its histogram, no shape",
    "human": "the votes of the people who annotated these images",
    "linear": "logistic regression on the pixels, its regularisation chosen on val",
    "linear_embedding": "logistic regression on the embedding, its regularisation chosen on val",
    "knn": "the labels of the nearest train images; their number and the distance chosen on val",
    "svc": "support vectors with a Gaussian kernel, chosen on val",
    "ensemble": "the mean of the probabilities of all networks",
    "combined": "the networks combined, and seen through the views, as val chose",
    "student": "one small network that learned the probabilities of the ensemble",
}

CALIBRATION_TO_MIND = 0.05
"""From an ECE of five points on, confidences mislead whoever acts on them (networks that Guo et al. 2017 call
miscalibrated have 4 to 10)."""


def describe(name: str) -> str:
    """Return one clause on what makes a prediction."""
    plain = name.removesuffix("_tta")
    views = ", averaged over several views of each image" if name.endswith("_tta") else ""
    if told := described(plain):
        return told
    seed = re.fullmatch(r"seed(\d+)", plain)
    if seed:
        return f"one network, trained from seed {seed[1]}{views}"
    return DESCRIPTIONS.get(plain, "found in a prediction folder") + views


LAST = ("ensemble", "ensemble_tta", "combined", "student", "student_tta")


def in_order(names: Sequence[str]) -> list[str]:
    """Return prediction names from blind guess to student: seeds by number, unknown ones after them."""

    def rank(name: str) -> tuple[int, int, str]:
        if name in BASELINES:
            return 0, BASELINES.index(name), name
        if name in LAST:
            return 3, LAST.index(name), name
        seed = re.fullmatch(r"seed(\d+)(_tta)?", name)
        return (1, int(seed[1]), name) if seed else (2, 0, name)

    return sorted(names, key=rank)


def percent(share: float, digits: int = 1) -> str:
    """Return a fraction as percent, with a space that does not break."""
    return f"{100 * share:.{digits}f}\u00a0%"


def span(ci: Sequence[float]) -> str:
    """Return an interval of fractions as percent."""
    return f"{100 * ci[0]:.1f} to {percent(ci[1])}"


def points(difference: float) -> str:
    """Return a difference of fractions in signed percentage points."""
    return f"{100 * difference:+.1f}".replace("-", "\u2212")


def p_text(p_value: float) -> str:
    """Return a p-value with two digits, never 0: an exact test's smallest is merely small."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}"


def code(text: str) -> Markup:
    """Return text with what stands in `backticks` as code, all of it escaped."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 and index < len(parts) - 1 else part
        for index, part in enumerate(parts)
    )


def short(value: object) -> str:
    """Return a number with three digits, anything else as it is."""
    return f"{value:.3g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def plural(n: int, noun: str) -> str:
    """Return "1 image", "2 images"; thousands with commas."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def model_name(name: str) -> str:
    """Return how a sentence calls a prediction."""
    if name == "combined":
        return "The ensemble, combined as val chose,"
    plain = name.removesuffix("_tta")
    return f"The {plain}" + (" with test-time augmentation" if name.endswith("_tta") else "")


def headline(name: str, record: Record) -> str:
    """Return the one sentence that answers: how good is it?"""
    right = round(record["top1_accuracy"] * record["n"])
    return f"{model_name(name)} names {right:,} of {plural(record['n'], 'unseen image')} correctly."


def comparison_word(comparison: Record, confidence: float) -> str:
    """Return better, worse or "no difference shown": a claim needs the interval and the corrected p-value."""
    low, high = comparison["ci"]
    if comparison["p_value_holm"] > 1 - confidence or low <= 0 <= high:
        return "no difference shown"
    return "better" if low > 0 else "worse"


def against(
    main: str, other: str, comparison: Record | None, record: Record | None, confidence: float
) -> str:
    """Return a sentence that holds the model against a baseline; empty where that is missing."""
    if comparison is None or record is None:
        return ""
    what = {
        "dummy": "Guessing by the class shares",
        "linear": "A linear model on the pixels",
        "human": "People",
    }
    ensemble = "the ensemble" if main == "ensemble" else "the plain ensemble"
    word = comparison_word(comparison, confidence)
    if word == "no difference shown":
        low, high = comparison["ci"]
        gap = f"{points(comparison['difference'])} points ({points(low)} to {points(high)})"
        corrected = "" if low <= 0 <= high else " once corrected for all comparisons made"
        verdict = f"that {ensemble} differs from it is not shown{corrected}: {gap}"
    else:
        near, far = sorted(abs(100 * end) for end in comparison["ci"])
        size = abs(100 * comparison["difference"])
        verdict = f"{ensemble} is {word} by {size:.1f} points ({near:.1f} to {far:.1f})"
    return f"{what[other]} reaches {percent(record['top1_accuracy'])} (n = {record['n']:,}); {verdict}."


def seeds_sentence(seeds: Mapping[str, Record]) -> str:
    """Return what a single training run gives, over seeds."""
    if "seed" not in seeds:
        return ""
    record = seeds["seed"]
    mean = percent(record["top1_accuracy_mean"])
    if record["top1_accuracy_sd"] is None:
        return f"A single network gives {mean} (one seed, so its spread is unknown)."
    deviation = 100 * record["top1_accuracy_sd"]
    spread = f"mean ± standard deviation over {record['n_seeds']} seeds"
    return f"A single network gives {mean} ± {deviation:.1f} points ({spread})."


def people_sentence(human: Record) -> str:
    """Return what is known about people on these images."""
    if not human["measured"]:
        return f"How well people do is not measured: {human['reason']}"
    agreement, one = percent(human["agreement_with_others"]), human["one_person"]
    low, high = (percent(end) for end in one["interval"])
    return (
        f"People agree with the majority of the others in {agreement} of {human['n']:,} judgements of test "
        f"images. One person is right in about {percent(one['accuracy'])} ({low} to {high}; n = "
        f"{one['n']:,} images with two opinions or more): an estimate from opinions alone, which allows for "
        "people erring on the same images, and which cannot know where most people are wrong. "
        + _kappa_sentence(human["agreement"])
    )


def _kappa_sentence(agreement: Record) -> str:
    alpha = agreement["krippendorff_alpha"]
    if alpha is None:
        return ""
    return f"Krippendorff's alpha is {alpha:.2f} (0 is chance, 1 is always the same)."


def advice(
    record: Record, confidence: float, worst: tuple[str, ClassScore] | None, findings: Findings
) -> list[str]:
    """Return what to do next, only what the numbers call for; `confidence` is the mean one on test."""
    found = data_advice(findings)
    wrong = record["n"] - round(record["top1_accuracy"] * record["n"])
    low, high = record["top1_accuracy_ci"]
    found.append(
        f"With {plural(wrong, 'error')} in {plural(record['n'], 'test image')} the interval is "
        f"{100 * (high - low):.1f} points wide: alone, an accuracy is known no better than that here. "
        "Four times the images halve it."
    )
    if record["ece"] > CALIBRATION_TO_MIND:
        accuracy = record["top1_accuracy"]
        too = "sure" if confidence > accuracy else "unsure"
        found.append(
            f"The model is too {too}: {percent(confidence)} confident on average, {percent(accuracy)} right. "
            "Do not act on its confidence as a chance of being right."
        )
    if worst is not None:
        found.append(
            f"The class “{worst[0]}” fares worst, {worst[1].correct} of {worst[1].n} right: look at its "
            "errors first, and collect more of it if they show real variety."
        )
    return found


def data_advice(findings: Findings) -> list[str]:
    """Return what the data asks for before the model does."""
    found = []
    if findings.suspects:
        found.append(
            f"Look at {plural(len(findings.suspects), 'suspected label')} below: a wrong label in test "
            "turns a right answer into an error. Write what you decide to data/review/decisions.csv, then "
            "run make repro."
        )
    if findings.conflicts:
        found.append(
            f"In {plural(len(findings.conflicts), 'pair')} of copies the labels differ: one of each is wrong."
        )
    told = [row for row in findings.cues if row["is_cue"] == "true"]
    if told:
        found.append(
            f"“{told[0]['property'].replace('_', ' ')}” alone tells the class “{told[0]['class']}” from the "
            "rest: see below before you believe an accuracy, the model may have learned that instead."
        )
    faulty = [row["name"] for row in findings.verdict["expectations"] if not row["passed"]]
    if len({f"few_{row['issue']}" for row in findings.image_issues} & set(faulty)):
        found.append("More pictures than allowed are faulty as pictures (blank, dark, blurry, …): see below.")
    if not findings.human["measured"]:
        found.append(
            "Have two people label the test images independently: only that shows what remains to gain."
        )
    if findings.quarantined:
        found.append(f"{plural(len(findings.quarantined), 'file')} could not be used: see why below.")
    return found
