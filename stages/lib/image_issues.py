"""Which pictures are faulty as pictures: blank, dark, overexposed, without contrast, blurred, of odd shape.

From the properties that `embed` measured and the original sizes. A picture has an issue when it is beyond a
bound that holds for pictures in general, *and* is unusual among this data: X-rays are dark all over, digits
are mostly background, film frames are wide, and a finding on every picture helps nobody. Unusual is more
than so many spreads from the median; the spread is the median distance on the wider side, scaled to a
normal deviation (Leys et al. 2013, Detecting outliers: 3 is their very conservative choice). So a fault
that over a quarter of the pictures share counts as the nature of the data. Only a blank picture is always
one.
Source: the kinds of issue follow cleanvision; what is measured and where the bounds lie is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from stages.lib.config import Section

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ISSUES = (
    "blank",
    "dark",
    "overexposed",
    "low_contrast",
    "low_information",
    "blurry",
    "odd_size",
    "odd_aspect",
    "odd_colour",
)

NORMAL = 1.4826
"""The median distance from the median times this is a normal distribution's standard deviation."""

GREY_BELOW = 0.02
"""Saturation to brightness of pictures that pass for grey: JPEG leaves a level or two of colour in them."""

RARE = 0.25
"""Largest share of pictures whose being grey, or coloured, is odd: that of an outlier, as above."""

COLUMNS = ("sample_id", "issue", "value", "bound", "score")


class ImageBounds(Section):
    """The keys of section `validate` that say when a picture has an issue."""

    outlier_spreads: float = Field(ge=0, le=100)
    blank_below: float = Field(ge=0, le=1)
    dark_below: float = Field(ge=0, le=1)
    overexposed_above: float = Field(gt=0, le=1)
    low_contrast_below: float = Field(ge=0, le=1)
    low_information_below: float = Field(ge=0, le=1)
    sharpness_below: float = Field(ge=0, le=1)
    odd_size_factor: float = Field(gt=1)
    odd_aspect_above: float = Field(gt=1)


@dataclass(frozen=True)
class Issue:
    """One kind of issue over all samples: what was measured (n,), where the bound lies, who is beyond it.

    score (n,): 1 within the bound, else how far beyond: 0.5 is half, or twice, the bound.
    """

    value: Doubles
    bound: float
    found: Mask
    score: Doubles


def find_issues(
    properties: Mapping[str, Doubles], widths: Doubles, heights: Doubles, bounds: ImageBounds
) -> dict[str, Issue]:
    """Return every kind of ISSUES over all samples; properties are columns (n,) of data/embed."""
    k = bounds.outlier_spreads
    blank = _below(properties["contrast"], bounds.blank_below)
    size, aspect = np.log2(widths * heights) / 2, np.log2(widths / heights)
    found = {
        "dark": _unusually_low(properties["bright_level"], bounds.dark_below, k),
        "overexposed": _unusually_high(properties["dark_level"], bounds.overexposed_above, k),
        "low_contrast": _unusually_low(properties["contrast"], bounds.low_contrast_below, k),
        "low_information": _unusually_low(properties["entropy"], bounds.low_information_below, k),
        "blurry": _unusually_low(properties["sharpness"], bounds.sharpness_below, k),
        "odd_colour": _odd_colour(properties["saturation"] < GREY_BELOW * properties["brightness"]),
    }
    # A blank picture is dark or light, smeared and without colour, a dark one has no contrast: told once.
    found = {name: _without(issue, blank.found) for name, issue in found.items()}
    found |= {
        "blank": blank,
        "low_contrast": _without(found["low_contrast"], found["dark"].found),
        "odd_size": _odd_size(size, max(np.log2(bounds.odd_size_factor), k * _spread(size))),
        "odd_aspect": _odd_aspect(aspect, bounds.odd_aspect_above, k * _spread(aspect) if k else -1.0),
    }
    return {name: found[name] for name in ISSUES}


def _spread(values: Doubles) -> float:
    """Return the spread about the median, of the side that is wider; 0 where nothing is known."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0
    centre = np.median(known)
    sides = (known[known <= centre], known[known >= centre])
    return float(NORMAL * max(np.median(np.abs(side - centre)) for side in sides))


def _unusually_low(value: Doubles, bound: float, spreads: float) -> Issue:
    known = value[np.isfinite(value)]
    if spreads and len(known):
        bound = min(bound, float(np.median(known)) - spreads * _spread(known))
    return _below(value, bound)


def _unusually_high(value: Doubles, bound: float, spreads: float) -> Issue:
    known = value[np.isfinite(value)]
    if spreads and len(known):
        bound = max(bound, float(np.median(known)) + spreads * _spread(known))
    return _above(value, bound)


def _below(value: Doubles, bound: float) -> Issue:
    beyond = np.nan_to_num(value, nan=np.inf) < bound
    return Issue(value, bound, beyond, np.where(beyond, value / max(bound, 1e-9), 1.0))


def _above(value: Doubles, bound: float) -> Issue:
    beyond = np.nan_to_num(value, nan=-np.inf) > bound
    return Issue(value, bound, beyond, np.where(beyond, bound / np.maximum(value, bound), 1.0))


def _without(issue: Issue, others: Mask) -> Issue:
    return Issue(issue.value, issue.bound, issue.found & ~others, np.where(others, 1.0, issue.score))


def _odd_size(size: Doubles, bound: float) -> Issue:
    """Sides of so many times, or a so-manyth of, the median side; sizes are logarithms."""
    centre = np.median(size) if len(size) else 0.0
    return _above(np.exp2(np.abs(size - centre)), float(np.exp2(bound)))


def _odd_aspect(aspect: Doubles, bound: float, spread: float) -> Issue:
    """Long sides of more than `bound` short ones that are unusual here: wide among wide ones is not."""
    centre = np.median(aspect) if len(aspect) else 0.0
    usual = np.abs(aspect - centre) <= spread
    return _without(_above(np.exp2(np.abs(aspect)), bound), usual)


def _odd_colour(grey: Mask) -> Issue:
    share = np.where(grey, grey.mean(), 1 - grey.mean()) if len(grey) else np.zeros(0)
    return _below(share, RARE)


def issue_rows(sample_ids: Sequence[str], issues: Mapping[str, Issue]) -> list[tuple[object, ...]]:
    """Return COLUMNS of every finding: by kind, the worst first."""
    rows: list[tuple[object, ...]] = []
    for name, issue in issues.items():
        places: list[int] = np.flatnonzero(issue.found).tolist()
        ranked = sorted((issue.score[place], sample_ids[place], place) for place in places)
        for score, sample_id, place in ranked:
            numbers = (issue.value[place], issue.bound, score)
            rows.append((sample_id, name, *(round(float(number), 6) for number in numbers)))
    return rows
