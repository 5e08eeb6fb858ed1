"""What a search learns from and looks at: train and val, and nothing else: no trial sees a test row.

The whole table is read and decoded, as every stage does; test rows are dropped before the first trial.

The digest names just that, so that other data never mix into one study, and a larger test set changes
nothing.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.artifacts import read_table
from stages.lib.class_plan import ClassPlan, read_plan
from stages.lib.dataset import Dataset, load_dataset
from stages.lib.errors import InputError
from stages.lib.relatives import groups_among
from stages.lib.soft_targets import annotator_targets

SEEN = ("train", "val")

NEEDED = (
    "ingest/images.parquet",
    "curate/samples.parquet",
    "duplicates/groups.parquet",
    "split/splits.csv",
    "class_balance/plan.json",
    "pretrain/encoder.safetensors",
)


@dataclass(frozen=True)
class Material:
    """Samples of train and val; groups (V,) int64, 0..G-1, of the val samples: copies, or one user group's.

    votes (M, K): what annotators said of the train samples, where a trial may ask. data: the folder it was
    read from, of whose `pretrain` the encoder is.
    """

    dataset: Dataset
    plan: ClassPlan
    groups: np.ndarray
    votes: np.ndarray | None
    data: Path

    @property
    def val_labels(self) -> np.ndarray:
        """Labels (V,) int64."""
        return np.asarray(self.dataset.labels[self.dataset.part("val")])

    @property
    def encoder(self) -> Path:
        """The pretrained body."""
        return self.data / "pretrain" / "encoder.safetensors"

    def digest(self) -> str:
        """Return a hash of every pixel, label and weight that a trial sees."""
        found = hashlib.sha256(repr((self.dataset.classes, self.dataset.pixels.shape)).encode())
        found.update("\n".join(self.dataset.sample_ids).encode())
        plan = (self.plan.sampling, self.plan.loss, self.plan.strength)
        arrays: list[np.ndarray | None] = [
            self.dataset.pixels,
            self.dataset.labels,
            self.dataset.split == "val",
            self.groups,
            *plan,
        ]
        arrays.append(self.votes)
        for array in arrays:
            found.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        found.update(self.encoder.read_bytes())
        return found.hexdigest()


def load_material(data: Path, votes: bool) -> Material:
    """Read train and val from the stages' folders in `data`, and annotators' votes if asked.

    InputError where a stage has not run.
    """
    missing = [name for name in NEEDED if not (data / name).exists()]
    if missing:
        raise InputError(
            f"{data / missing[0]} is not there: `make repro` makes it, or `assay pull` fetches it"
        )
    whole = load_dataset(data / "ingest", data / "curate", data / "split")
    dataset = _only(whole, whole.part(*SEEN))
    if not len(dataset.part("val")):
        raise InputError("the val split is empty: there is nothing to choose by; see the section split")
    plan = read_plan(data / "class_balance", dataset.classes)
    soft = annotator_targets(data / "curate", whole, whole.part("train")) if votes else None
    return Material(dataset, plan, _groups(data, dataset), soft, data)


def _only(dataset: Dataset, rows: np.ndarray) -> Dataset:
    ids = tuple(dataset.sample_ids[row] for row in rows)
    return Dataset(ids, dataset.pixels[rows], dataset.labels[rows], dataset.split[rows], dataset.classes)


def _groups(data: Path, dataset: Dataset) -> np.ndarray:
    """Return the group (V,) of each val sample, by shared pictures and by the user's groups."""
    samples = read_table(data / "curate" / "samples.parquet", ["sample_id", "group"])
    of_user = dict(zip(samples["sample_id"].to_pylist(), samples["group"].to_pylist(), strict=True))
    ids = [dataset.sample_ids[row] for row in dataset.part("val")]
    return groups_among(data / "duplicates", ids, [of_user.get(name) for name in ids])
