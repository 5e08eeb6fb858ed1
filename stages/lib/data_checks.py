"""What is expected of the curated data: a list of checks for each table, with what to do where one fails."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from stages.lib.expectations import Check
from stages.lib.image_issues import ISSUES, ImageBounds

STATUSES = ("keep", "drop", "relabel", "neutral")


class CheckBounds(ImageBounds):
    """Bounds of the expectations that leave a choice."""

    label_issues_warning: float = Field(ge=0, le=1)
    label_issues_critical: float = Field(ge=0, le=1)
    conflicts_critical: float = Field(ge=0, le=1)
    quarantined_warning: float = Field(ge=0, le=1)
    dropped_warning: float = Field(ge=0, le=1)
    min_class_size_warning: int = Field(ge=1)
    imbalance_ratio_warning: float = Field(ge=1)
    image_issues_warning: float = Field(ge=0, le=1)


ISSUE_REMEDIES = {
    "blank": "Nothing is on them: drop them, in the source or in data/review/decisions.csv.",
    "dark": "Can a person still name what is on them? Brighten them at the source, or drop them.",
    "overexposed": "Can a person still name what is on them? Export them again, or drop them.",
    "low_contrast": "Can a person still name what is on them? Often a wrong export: 16 bits read as 8.",
    "low_information": "Look at them: placeholders and drawings of next to nothing are common.",
    "blurry": "Look at them; where many were enlarged from small files, lower ingest.image_size.",
    "odd_size": "Look at them: thumbnails among photographs? Replace them by their originals.",
    "odd_aspect": "Look at them: strips lose most of their detail in a square; crop them at the source.",
    "odd_colour": "Do they come from elsewhere? Where the source differs, the label may follow it.",
}


def sample_checks(params: CheckBounds, classes: Sequence[str]) -> list[Check]:
    """Return what is expected of samples."""
    return [
        _not_null("sample_ids_present", "sample_id", "Report this: ingest names every sample."),
        Check(
            "sample_ids_unique",
            "ExpectColumnValuesToBeUnique",
            {"column": "sample_id"},
            "critical",
            "Make the id column of the source unique, or leave it out: ids then come from file content.",
        ),
        _within(
            "labels_known",
            "class_name",
            classes,
            "Run `dvc repro`: the class counts are older than the labels.",
        ),
        _within("statuses_known", "status", STATUSES, "Run `dvc repro curate`."),
        _within(
            "changes_explained",
            "change",
            ("explained",),
            "Run `dvc repro curate`: a sample was changed without a ledger row.",
        ),
        _at_least("widths_positive", "width", 1, "critical", "Run `dvc repro ingest`."),
        _at_least("heights_positive", "height", 1, "critical", "Run `dvc repro ingest`."),
        *_copy_checks(params),
        *_doubt_checks(params),
        *_picture_checks(params),
        _mostly(
            "few_dropped",
            ("fate", "used"),
            params.dropped_warning,
            "warning",
            "See data/curate/ledger.csv for what dropped them; soften the rules in params.yaml (curate).",
        ),
    ]


def _copy_checks(params: CheckBounds) -> list[Check]:
    settle = (
        "See data/duplicates/conflicts.csv; say which label is right in data/review/decisions.csv, or set "
        "curate.conflicts to neutral or drop."
    )
    leak = (
        "The official split has one picture in several parts: drop it from one in data/review/decisions.csv, "
        "or leave ingest.split empty. The report says what leaks are worth (duplicate tax)."
    )
    return [
        _mostly("exact_copies_agree", ("exact_copies", "agree"), 0, "warning", settle),
        _mostly("near_copies_agree", ("near_copies", "agree"), 0, "warning", settle),
        _mostly("no_exact_copy_leaks", ("official_split", "agree"), 0, "warning", leak),
        _mostly(
            "few_exact_copies_disagree",
            ("exact_copies", "agree"),
            params.conflicts_critical,
            "critical",
            settle,
        ),
    ]


def _doubt_checks(params: CheckBounds) -> list[Check]:
    look = (
        "See the report's suspects and data/label_noise/scores.parquet; correct labels in the source or in "
        "data/review/decisions.csv, or set curate.label_errors."
    )
    column = ("label_noise", "believed")
    return [
        _mostly("few_labels_doubted", column, params.label_issues_warning, "warning", look),
        _mostly("labels_mostly_believed", column, params.label_issues_critical, "critical", look),
    ]


def _picture_checks(params: CheckBounds) -> list[Check]:
    where = " Listed in data/validate/image_issues.csv; bounds are in params.yaml (validate)."
    return [
        _mostly(
            f"few_{issue}",
            (issue, "fine"),
            params.image_issues_warning,
            "warning",
            ISSUE_REMEDIES[issue] + where,
        )
        for issue in ISSUES
    ]


def property_checks() -> list[Check]:
    """Return what is expected of the properties of pictures."""
    remedy = (
        "A network can learn this instead of the thing: see data/validate/cues.csv. Take the pictures of all "
        "classes in the same way, or remove the difference (crop frames, convert all to grey)."
    )
    return [_mostly("no_property_gives_the_label_away", ("tells", "little"), 0, "warning", remedy)]


def file_checks(params: CheckBounds) -> list[Check]:
    """Return what is expected of files."""
    remedy = "See data/ingest/quarantine.csv for each file and its reason; replace or remove the files."
    return [_mostly("few_quarantined", ("fate", "accepted"), params.quarantined_warning, "warning", remedy)]


def class_checks(params: CheckBounds) -> list[Check]:
    """Return what is expected of classes."""
    few = "Add images, merge classes, or set split.rare_classes; accuracy on a small class says little."
    return [
        Check(
            "two_classes",
            "ExpectTableRowCountToBeBetween",
            {"min_value": 2},
            "critical",
            "A classifier needs labelled images of two classes or more: add a folder or label more rows.",
        ),
        _at_least("classes_large_enough", "n", params.min_class_size_warning, "warning", few),
        Check(
            "classes_balanced",
            "ExpectColumnValuesToBeBetween",
            {"column": "largest_to_this", "max_value": params.imbalance_ratio_warning},
            "warning",
            "Add images of the small classes, or try class_balance.strategy; judge by balanced_accuracy.",
        ),
        _mostly(
            "class_names_distinct",
            ("spelling", "its own"),
            0,
            "warning",
            "These names differ from another only in case, space or Unicode form: unite them in the source.",
        ),
    ]


def _not_null(name: str, column: str, remedy: str) -> Check:
    return Check(name, "ExpectColumnValuesToNotBeNull", {"column": column}, "critical", remedy)


def _within(name: str, column: str, values: Sequence[str], remedy: str) -> Check:
    arguments = {"column": column, "value_set": list(values)}
    return Check(name, "ExpectColumnValuesToBeInSet", arguments, "critical", remedy)


def _at_least(name: str, column: str, least: int, severity: Any, remedy: str) -> Check:
    return Check(
        name, "ExpectColumnValuesToBeBetween", {"column": column, "min_value": least}, severity, remedy
    )


def _mostly(name: str, good: tuple[str, str], allowed: float, severity: Any, remedy: str) -> Check:
    """Expect the good word, of good = (column, word), in all rows but the fraction `allowed`."""
    arguments = {"column": good[0], "value_set": [good[1]], "mostly": 1 - allowed}
    return Check(name, "ExpectColumnValuesToBeInSet", arguments, severity, remedy)
