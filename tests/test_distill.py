import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from stages import distill
from stages.lib.artifacts import read_table, write_table
from stages.lib.config import parse_section, read_params
from stages.lib.dataset import Dataset
from stages.lib.errors import InputError
from stages.lib.payload import sha256_of
from stages.lib.relatives import groups_of
from stages.lib.teachers import teachers_from
from stages.lib.weights import load_classifier
from tests.prepared_data import CLASSES, Folders, bars_dataset, with_copies, write_prepared
from tests.training_fixture import context, distill_params, distill_view, write_encoder, write_members


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return bars_dataset(150, neutral=6)


@pytest.fixture(scope="module")
def members(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_members(tmp_path_factory.mktemp("members"), dataset)


def run(folder: Path, dataset: Dataset, members: Path, **changes: object) -> dict[str, float]:
    return run_in(write_prepared(folder, dataset), folder, members, **changes)


def run_in(
    folders: Folders, folder: Path, members: Path, seeds: tuple[int, ...] = (0, 1), **changes: object
) -> dict[str, float]:
    (folder / "out").mkdir()
    return distill.run(
        distill_params(**changes),
        ingest=folders.ingest,
        duplicates=folders.duplicates,
        curate=folders.curate,
        split=folders.split,
        members=members,
        out=folder / "out",
        train=distill_view().model_copy(update={"seeds": seeds}),
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


@pytest.mark.parametrize(
    ("key", "least", "most", "beyond"),
    [("hint_weight", 0.0, 10_000.0, (-0.1, 10_000.1)), ("hint_depth", 1, 100, (0, 101, 1.5))],
)
def test_hints_are_asked_for_within_their_ranges(
    key: str, least: float, most: float, beyond: tuple[float, ...]
) -> None:
    raw = read_params()

    def faults(value: float) -> list[str]:
        return parse_section(distill.Params, "distill", {"distill": raw["distill"] | {key: value}})[1]

    assert not faults(least) + faults(most)
    for value in beyond:
        assert f"distill.{key}" in " ".join(faults(value))


def test_a_missing_teacher_is_named(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(InputError, match=r"seed0.model\.safetensors: no such weights file"):
        run(tmp_path, dataset, tmp_path / "nowhere")


def test_val_and_test_pictures_and_what_resembles_them_teach_nothing(
    tmp_path: Path, dataset: Dataset, members: Path
) -> None:
    neutral, held_out = dataset.part("neutral"), dataset.part("val", "test")
    copies = {
        dataset.sample_ids[a]: dataset.sample_ids[b]
        for a, b in zip(neutral[:4], held_out[::12], strict=False)
    }
    assert len(copies) == 4
    hidden = np.concatenate([held_out, neutral[:4]])
    pixels = dataset.pixels.copy()
    pixels[hidden] = np.random.default_rng(0).integers(0, 256, pixels[hidden].shape)
    found = []
    for name, shown in (("one", dataset), ("two", replace(dataset, pixels=pixels))):
        folders = write_prepared(tmp_path / name, shown)
        with_copies(folders.duplicates, copies)
        groups = groups_of(folders.duplicates, folders.curate, shown)
        taught = distill.taught_on(shown, groups, ("neutral", "unlabelled"))
        assert set(taught) == set(dataset.part("train", "neutral")) - set(neutral[:4])
        found.append(run_in(folders, tmp_path / name, members))
        assert found[-1]["n_copies_left_out"] == 4
    one, two = (tmp_path / name / "out/model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_what_the_user_grouped_with_a_test_sample_is_left_out_too(tmp_path: Path, dataset: Dataset) -> None:
    folders = write_prepared(tmp_path, dataset)
    table = read_table(folders.curate / "samples.parquet").to_pydict()
    sender = {int(dataset.part("test")[0]): "x", int(dataset.part("neutral")[0]): "x"}
    table["group"] = [sender.get(at) for at in range(len(dataset.sample_ids))]
    write_table(folders.curate / "samples.parquet", pa.table(table))
    groups = groups_of(folders.duplicates, folders.curate, dataset)
    taught = distill.taught_on(dataset, groups, ("neutral",))
    assert set(dataset.part("train", "neutral")) - set(taught) == {int(dataset.part("neutral")[0])}


def test_what_is_taught_on_besides_train_is_a_choice(tmp_path: Path, dataset: Dataset, members: Path) -> None:
    assert run(tmp_path, dataset, members, epochs=1, images=())["n_taught_on"] == len(dataset.part("train"))


def test_hints_leave_no_trace_in_what_is_published(tmp_path: Path, dataset: Dataset, members: Path) -> None:
    found = run(
        tmp_path / "hints", dataset, members, hint_weight=1.0, widths=(8, 8), hint_depth=2, loss="logits"
    )
    plain = run(tmp_path / "plain", dataset, members, widths=(8, 8))
    network, _, _ = load_classifier(tmp_path / "hints/out/model.safetensors", CLASSES)
    assert found["n_parameters"] == plain["n_parameters"] == sum(p.numel() for p in network.parameters())
    assert found["flops_per_image"] == plain["flops_per_image"]


def test_a_student_may_be_like_its_teacher(tmp_path: Path, dataset: Dataset, members: Path) -> None:
    found = run(tmp_path, dataset, members, network="same", epochs=8)
    assert found["parameter_ratio"] == 1.0
    low, high = found["val_agreement_ci"]  # type: ignore[misc]
    assert low < found["val_agreement"] <= high
    assert found["n_val"] == len(dataset.part("val"))


def test_a_teacher_from_a_file_teaches_what_the_member_would(
    tmp_path: Path, dataset: Dataset, members: Path
) -> None:
    file = members / "seed0" / "model.safetensors"
    pinned = {"teacher": "file", "teacher_file": str(file), "teacher_sha256": sha256_of(file)}
    run(tmp_path / "file", dataset, tmp_path / "no members", **pinned)
    run(tmp_path / "member", dataset, members, seeds=(0,))
    tensors = [
        load_classifier(tmp_path / name / "out/model.safetensors", CLASSES)[0].state_dict()
        for name in ("file", "member")
    ]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    with pytest.raises(InputError, match="its SHA-256 is"):
        run(tmp_path / "other", dataset, members, **pinned | {"teacher_sha256": "0" * 64})
    with pytest.raises(ValueError, match="teacher: file needs teacher_file"):
        distill_params(teacher="file")


def test_a_file_that_cannot_teach_is_refused_by_its_key_with_what_to_do(
    tmp_path: Path, dataset: Dataset, members: Path
) -> None:
    encoder = tmp_path / "encoder.safetensors"
    write_encoder(encoder, dataset)
    pinned = {"teacher": "file", "teacher_sha256": sha256_of(encoder)}
    told = (
        rf"^distill\.teacher_file: {encoder}: its kind is encoder, expected classifier: .*a release's folder"
    )
    with pytest.raises(InputError, match=told):
        run(tmp_path / "encoder", dataset, members, **pinned, teacher_file=str(encoder))
    with pytest.raises(
        InputError, match=r"^distill\.teacher_file: none\.safetensors cannot be read .*name one"
    ):
        run(tmp_path / "none", dataset, members, **pinned, teacher_file="none.safetensors")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"widths": (8,) * 5}, r"^distill\.widths: \[8, 8, 8, 8, 8\] are 5 stages.*8: list 4 at most"),
        ({"network": "timm:resnet19"}, r"^distill\.network: timm has no net 'resnet19'.*'resnet18'"),
        (
            {"hint_weight": 1.0, "hint_depth": 3},
            r"^distill\.hint_depth: the teacher has 2 depths; received 3",
        ),
    ],
)
def test_a_student_that_cannot_be_is_refused_by_its_own_key(
    tmp_path: Path, dataset: Dataset, members: Path, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        run(tmp_path, dataset, members, **changes)


def test_a_files_classes_may_stand_in_another_order(tmp_path: Path, dataset: Dataset, members: Path) -> None:
    file = members / "seed0" / "model.safetensors"
    turned = replace(
        dataset, classes=CLASSES[::-1], labels=np.where(dataset.labels >= 0, 2 - dataset.labels, -1)
    )
    pinned = {"teacher": "file", "teacher_file": str(file), "teacher_sha256": sha256_of(file)}
    found = run(tmp_path, turned, members, epochs=10, **pinned)
    assert found["val_agreement"] >= 0.9
    assert found["val_top1_accuracy"] >= 0.9
    renamed = replace(dataset, classes=("a", "b", "c"))
    with pytest.raises(InputError, match="its classes is"):
        run(tmp_path / "renamed", renamed, members, **pinned)


def test_a_releases_networks_teach_unless_they_learned_from_what_is_test_here(
    tmp_path: Path, dataset: Dataset, members: Path
) -> None:
    release = tmp_path / "bundle"
    release.mkdir()
    for name in ("seed0", "seed1"):
        shutil.copyfile(members / name / "model.safetensors", release / f"{name}.safetensors")
    listed = "".join(f"{sha256_of(path)}  {path.name}\n" for path in sorted(release.iterdir()))
    digest = hashlib.sha256(listed.encode()).hexdigest()
    pinned = {"teacher": "file", "teacher_file": str(release), "teacher_sha256": digest}
    test = {f"{at:064x}" for at in dataset.part("test")}
    record = {"sha256": sorted(test), "split": ["test"] * len(test)}
    write_table(release / "samples.parquet", pa.table(record))
    assert run(tmp_path / "sound", dataset, members, epochs=1, **pinned)["n_teachers"] == 2
    record["split"][0] = "train"
    write_table(release / "samples.parquet", pa.table(record))
    with pytest.raises(InputError, match="learned from 1 images that are test here or resemble one"):
        run(tmp_path / "flattered", dataset, members, **pinned)
    with pytest.raises(InputError, match="holds no weights"):
        run(tmp_path / "empty", dataset, members, **pinned | {"teacher_file": str(tmp_path / "sound/split")})


def test_a_whitened_student_computes_its_first_layer_and_gets_hints(
    tmp_path: Path, dataset: Dataset, members: Path
) -> None:
    found = run(tmp_path, dataset, members, network="whitened", widths=(8, 16), epochs=10, hint_weight=1.0)
    assert found["val_agreement"] >= 0.8
    network, card, _ = load_classifier(tmp_path / "out/model.safetensors", CLASSES)
    assert card.architecture.name == "whitened"
    kernels = network.get_buffer("body.whitening.weight")
    assert float(kernels.abs().max()) != 1.0  # as before it was computed


@pytest.mark.slow
def test_a_student_may_be_any_net_of_timm(tmp_path: Path, dataset: Dataset, members: Path) -> None:
    found = run(tmp_path, dataset, members, network="timm:resnet10t", epochs=1, hint_weight=1.0)
    assert found["n_parameters"] > 1_000_000
    load_classifier(tmp_path / "out/model.safetensors", CLASSES)


def test_a_student_starts_from_what_its_teacher_knows_of_each_class_whatever_their_order(
    tmp_path: Path, dataset: Dataset, members: Path
) -> None:
    file = members / "seed0" / "model.safetensors"
    turned = replace(dataset, classes=CLASSES[::-1])
    groups = np.arange(len(dataset.sample_ids))
    named = teachers_from(file, sha256_of(file), turned, groups, tmp_path)
    recipe = replace(distill_params().one_phase("distill", distill_view().augmentation()), phases=())
    state = distill.fit_student(turned, dataset.part("train"), named, distill_params(), recipe)
    known = named["model"].network.head.bias.detach()
    assert torch.equal(state.network.get_parameter("head.bias"), known.flip(0))
    assert not torch.equal(known, known.flip(0))
