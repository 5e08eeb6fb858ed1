"""What validation knows of pictures as pictures: their issues, and properties that give the label away.

Curated samples joined with data/embed/properties.parquet, in manifest order.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from stages.lib.artifacts import read_table
from stages.lib.components import joined_groups
from stages.lib.errors import InputError
from stages.lib.image_issues import ImageBounds, Issue, find_issues
from stages.lib.image_properties import NAMES
from stages.lib.label_cues import Cue, Labels, binned, common_values, find_cues

Columns = Mapping[str, Sequence[Any]]

NO_CUE = "entropy"
"""How much is drawn, rather than how it was taken: a 1 has less ink than an 8."""


def read_properties(embed: Path, sample_ids: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the properties as columns (n,) float64; InputError unless they are of these samples."""
    table = read_table(embed / "properties.parquet")
    if table["sample_id"].to_pylist() != list(sample_ids):
        raise InputError(
            f"{embed / 'properties.parquet'}: of other samples than the curated: run `dvc repro`"
        )
    return {name: table[name].to_numpy().astype(np.float64) for name in NAMES}


def picture_issues(
    samples: Columns, properties: Mapping[str, np.ndarray], bounds: ImageBounds
) -> dict[str, Issue]:
    """Return every kind of issue over all samples."""
    widths, heights = (np.array(samples[name], np.float64) for name in ("width", "height"))
    return find_issues(properties, widths, heights, bounds)


def label_cues(
    samples: Columns,
    properties: Mapping[str, np.ndarray],
    copies: Sequence[str | None],
    draws: int,
    generator: np.random.Generator,
) -> tuple[list[Cue], list[str]]:
    """Return what each property tells of the labels that are used, and the classes that cues refer to.

    copies (n,) names each sample's duplicate group, None where it has no copy.
    """
    kept = [
        status in ("keep", "relabel") and label is not None
        for status, label in zip(samples["status"], samples["label"], strict=True)
    ]
    rows = np.flatnonzero(kept).tolist()
    names = [samples["label"][row] for row in rows]
    classes = sorted(set(names))
    position = {name: number for number, name in enumerate(classes)}
    labels = np.array([position[name] for name in names], np.int64)
    columns = {name: column[rows] for name, column in _bins(samples, properties).items()}
    groups = joined_groups([copies[row] for row in rows], [samples["group"][row] for row in rows])
    return find_cues(columns, labels, groups, draws, generator), classes


def _bins(samples: Columns, properties: Mapping[str, np.ndarray]) -> dict[str, Labels]:
    """Cut every property into bins, (n,) each; those that measure the picture-taking most directly first."""
    width, height = (np.array(samples[name], np.float64) for name in ("width", "height"))
    numbers = {"width": width, "height": height, "aspect": np.log2(width / height)}
    numbers |= {name: column for name, column in properties.items() if name != NO_CUE}
    words = {
        "mode": samples["mode"],
        "format": [PurePosixPath(name).suffix.casefold() for name in samples["source"]],
        "folder": [_folder(*pair) for pair in zip(samples["source"], samples["label"], strict=True)],
        "group": ["" if group is None else group for group in samples["group"]],
    }
    return {name: binned(column) for name, column in numbers.items()} | {
        name: common_values(column) for name, column in words.items()
    }


def _folder(source: str, label: str | None) -> str:
    """Return the folder a file came from, less the parts that are named as its class."""
    parts = PurePosixPath(source).parts[:-1]
    return "/".join(part for part in parts if label is None or part.casefold() != label.casefold())
