"""What the report shows of pictures as pictures: faulty ones, copies, properties that give labels away."""

from collections.abc import Mapping
from typing import Any

from stages.lib.pictures import Picture
from stages.lib.prior_findings import Findings, Row
from stages.lib.report_cards import MOST_PAIRS, Card, source_name

MOST_PER_ISSUE = 6
MOST_CUES = 10

ISSUES = {
    "blank": ("Blank", "nothing is on them", "contrast"),
    "dark": ("Dark", "hardly a pixel is light", "lightest"),
    "overexposed": ("Overexposed", "hardly a pixel is dark", "darkest"),
    "low_contrast": ("Little contrast", "all pixels are about as light", "contrast"),
    "low_information": ("Little information", "almost all is of one grey", "entropy"),
    "blurry": ("Blurry", "neighbouring pixels hardly differ", "sharpness"),
    "odd_size": ("Odd size", "far larger or smaller than the others", "times the usual side"),
    "odd_aspect": ("Odd shape", "long and narrow, unlike the others", "long to short side"),
    "odd_colour": (
        "Odd colour",
        "grey where most are coloured, or coloured where most are grey",
        "share alike",
    ),
}
"""What each kind is called, what it means, and what its value is."""


def picture_part(findings: Findings, shown: Mapping[str, Picture]) -> dict[str, Any]:
    """Return the sheets of faulty pictures and of copies, and the table of properties."""
    kinds = issues_by_kind(findings)
    return {
        "n_faulty": len({row["sample_id"] for row in findings.image_issues}),
        "issue_sheets": [
            {
                "title": ISSUES[kind][0],
                "meaning": ISSUES[kind][1],
                "n": len(rows),
                "cards": [_faulty(row, findings, shown) for row in rows[:MOST_PER_ISSUE]],
            }
            for kind, rows in kinds.items()
        ],
        "conflict_cards": [_pair(row, findings, shown) for row in findings.conflicts[:MOST_PAIRS]],
        "copy_cards": [_pair(row, findings, shown) for row in agreeing(findings)],
        "cues": findings.cues[:MOST_CUES],
        "n_cues": sum(row["is_cue"] == "true" for row in findings.cues),
    }


def issues_by_kind(findings: Findings) -> dict[str, list[Row]]:
    """Return the rows of image_issues.csv by kind, in its order: the worst first."""
    found: dict[str, list[Row]] = {}
    for row in findings.image_issues:
        found.setdefault(row["issue"], []).append(row)
    return found


def agreeing(findings: Findings) -> list[Row]:
    """Return the best pairs of copies with one label; fewer where conflicts take the room."""
    room = max(MOST_PAIRS - len(findings.conflicts), MOST_PAIRS // 3)
    return [row for row in findings.pairs if row["label_a"] == row["label_b"]][:room]


def pictured(findings: Findings) -> set[str]:
    """Return the samples whose pictures this part shows."""
    faulty = [row for rows in issues_by_kind(findings).values() for row in rows[:MOST_PER_ISSUE]]
    pairs = findings.conflicts[:MOST_PAIRS] + agreeing(findings)
    both = {row[side] for row in pairs for side in ("sample_id_a", "sample_id_b")}
    return both | {row["sample_id"] for row in faulty}


def _faulty(row: Row, findings: Findings, shown: Mapping[str, Picture]) -> Card:
    value = f"{float(row['value']):.3g} (bound {float(row['bound']):.3g})"
    lines = ((ISSUES[row["issue"]][2], value),)
    return Card(shown.get(row["sample_id"]), source_name(findings, row["sample_id"]), lines)


def _pair(row: Row, findings: Findings, shown: Mapping[str, Picture]) -> list[Card]:
    cards = []
    for side in "ab":
        sample_id = row[f"sample_id_{side}"]
        lines = (
            ("label", row[f"label_{side}"] or "none"),
            (f"{row['kind']} copy", f"{float(row['score']):.2f}"),
        )
        cards.append(Card(shown.get(sample_id), source_name(findings, sample_id), lines))
    return cards
