"""Faulty pictures planted among healthy ones are found, healthy ones are not, and no data floods the list."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFilter
from planting import photographs

from stages.lib.digits import read_digits, to_8_bit
from stages.lib.image_issues import ISSUES, ImageBounds, Issue, find_issues, issue_rows
from stages.lib.image_properties import NAMES, measure_all

BOUNDS = ImageBounds(
    outlier_spreads=3.0,
    blank_below=0.03,
    dark_below=0.33,
    overexposed_above=0.5,
    low_contrast_below=0.15,
    low_information_below=0.15,
    sharpness_below=0.2,
    odd_size_factor=3.0,
    odd_aspect_above=2.5,
)
N = 300


def issues_of(
    pixels: np.ndarray,
    widths: np.ndarray | None = None,
    heights: np.ndarray | None = None,
    bounds: ImageBounds = BOUNDS,
) -> dict[str, Issue]:
    sides = [np.full(len(pixels), 32) if side is None else side for side in (widths, heights)]
    columns = measure_all(pixels, *sides).astype(np.float64).T
    named = dict(zip(NAMES, columns, strict=True))
    return find_issues(named, *(side.astype(np.float64) for side in sides), bounds)


def blurred(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.5)))


EDITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "blank": lambda picture: np.full_like(picture, 90),
    "dark": lambda picture: picture // 5,
    "overexposed": lambda picture: (picture // 3 + 160).astype(np.uint8),
    "low_contrast": lambda picture: (picture // 10 + 100).astype(np.uint8),
    "blurry": blurred,
    "odd_colour": lambda picture: np.repeat(picture[..., :1], 3, axis=2),
}


@pytest.mark.parametrize("kind", EDITS)
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_faults_are_found_and_healthy_pictures_are_not(kind: str, seed: int) -> None:
    pixels = photographs(N, seed=seed)
    planted = np.random.default_rng(seed).permutation(N)[: N // 20]
    pixels[planted] = [EDITS[kind](picture) for picture in pixels[planted]]
    found = issues_of(pixels)
    healthy = np.setdiff1d(np.arange(N), planted)
    assert found[kind].found[planted].mean() >= 0.9
    assert not any(issue.found[healthy].any() for issue in found.values())
    assert (found[kind].score[found[kind].found] < 1).all()
    assert (found[kind].score[healthy] == 1).all()


def test_odd_sizes_and_shapes_are_found() -> None:
    widths, heights = np.full(N, 640), np.full(N, 480)
    widths[:3], heights[:3] = (2600, 100, 640), (2000, 90, 200)
    found = issues_of(photographs(N), widths, heights)
    assert np.flatnonzero(found["odd_size"].found).tolist() == [0, 1]
    assert np.flatnonzero(found["odd_aspect"].found).tolist() == [2]
    assert found["odd_aspect"].value[2] == pytest.approx(3.2)


def test_a_blank_picture_is_told_once() -> None:
    pixels = photographs(N)
    pixels[0], pixels[1] = 0, 255
    found = issues_of(pixels)
    assert [name for name in ISSUES if found[name].found[:2].any()] == ["blank"]


def test_digits_on_black_are_no_findings_but_blank_and_dim_ones_are() -> None:
    digits = to_8_bit(read_digits()[0])[..., None]
    sides = np.full(len(digits), 8)
    assert not any(issue.found.any() for issue in issues_of(digits, sides, sides).values())
    digits[5], digits[6] = 0, digits[6] // 5
    found = issues_of(digits, sides, sides)
    told = {name: np.flatnonzero(issue.found).tolist() for name, issue in found.items()}
    assert {name: rows for name, rows in told.items() if rows} == {"blank": [5], "dark": [6]}


@pytest.mark.parametrize("kind", ["dark", "overexposed", "low_contrast", "blurry"])
def test_what_most_of_the_data_is_like_is_no_finding(kind: str) -> None:
    pixels = np.stack([EDITS[kind](picture) for picture in photographs(N)])
    assert issues_of(pixels)[kind].found.mean() <= 0.02
    everywhere = BOUNDS.model_copy(update={"outlier_spreads": 0.0})
    assert issues_of(pixels, bounds=everywhere)[kind].found.mean() > 0.4


def test_rows_stand_by_kind_with_the_worst_first() -> None:
    pixels = photographs(N)
    pixels[7], pixels[3] = pixels[7] // 10, pixels[3] // 6
    pixels[9] = 30
    names = [f"s{row}" for row in range(N)]
    rows = issue_rows(names, issues_of(pixels))
    assert [row[:2] for row in rows] == [("s9", "blank"), ("s7", "dark"), ("s3", "dark")]
    assert all(0 <= float(str(row[4])) < 1 for row in rows)


def test_no_pictures_and_one_picture_are_judged_without_warnings() -> None:
    assert not any(issue.found.any() for issue in issues_of(photographs(1)).values())
    none = issues_of(photographs(1)[:0], np.zeros(0), np.zeros(0))
    assert all(len(issue.found) == 0 for issue in none.values())
