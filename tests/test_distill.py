from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages import distill
from stages.lib.dataset import Dataset
from stages.lib.errors import InputError
from stages.lib.weights import load_classifier
from tests.prepared_data import CLASSES, bars_dataset, write_prepared
from tests.training_fixture import context, distill_params, distill_view, write_members


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return bars_dataset(150, neutral=6)


@pytest.fixture(scope="module")
def members(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_members(tmp_path_factory.mktemp("members"), dataset)


def run(folder: Path, dataset: Dataset, members: Path, **changes: object) -> dict[str, float]:
    folders = write_prepared(folder, dataset)
    (folder / "out").mkdir()
    return distill.run(
        distill_params(**changes),
        ingest=folders.ingest,
        curate=folders.curate,
        split=folders.split,
        members=members,
        out=folder / "out",
        train=distill_view(),
        context=context(folder),
    )


def test_a_small_student_learns_what_its_teachers_believe(
    tmp_path: Path, dataset: Dataset, members: Path
) -> None:
    metrics = run(tmp_path, dataset, members, epochs=10)
    assert metrics["val_agreement"] >= 0.9
    assert metrics["n_taught_on"] == len(dataset.part("train")) + 6
    assert metrics["n_teachers"] == 2
    assert metrics["parameter_ratio"] == metrics["n_parameters"] / metrics["n_teacher_parameters"] < 0.4
    _, card, _ = load_classifier(tmp_path / "out" / "model.safetensors", CLASSES)
    hashes = [
        load_classifier(members / name / "model.safetensors", CLASSES)[2] for name in ("seed0", "seed1")
    ]
    assert card.parents == dict(zip(("seed0", "seed1"), hashes, strict=True))
    assert not (tmp_path / "checkpoints" / "k").exists()


def test_two_runs_write_the_same_bytes(tmp_path: Path, dataset: Dataset, members: Path) -> None:
    for name in ("one", "two"):
        run(tmp_path / name, dataset, members)
    for file in ("model.safetensors", "history.csv"):
        assert (tmp_path / "one/out" / file).read_bytes() == (tmp_path / "two/out" / file).read_bytes()


def test_labels_of_val_and_test_teach_nothing(tmp_path: Path, dataset: Dataset, members: Path) -> None:
    labels = np.where(np.isin(dataset.split, ("val", "test")), 0, dataset.labels)
    for name, changed in (("one", dataset), ("two", replace(dataset, labels=labels))):
        run(tmp_path / name, changed, members)
    one, two = (tmp_path / name / "out/model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_p5_teachers_of_other_classes_or_images_are_refused(
    tmp_path: Path, dataset: Dataset, members: Path
) -> None:
    renamed = replace(dataset, classes=("a", "b", "c"))
    with pytest.raises(InputError, match="its classes is"):
        run(tmp_path / "classes", renamed, members)
    with pytest.raises(InputError, match="image size and channels"):
        run(tmp_path / "size", bars_dataset(60, side=12), members)


def test_a_missing_teacher_is_named(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(InputError, match=r"seed0.model\.safetensors: no such weights file"):
        run(tmp_path, dataset, tmp_path / "nowhere")
