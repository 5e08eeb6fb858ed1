import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from stages import ablate
from stages.lib.artifacts import read_csv
from stages.lib.config import read_params
from stages.lib.errors import InputError
from stages.lib.ingredients import Added, compared
from stages.lib.predictions import read_predictions
from stages.lib.recipe_gain import Gain
from tests.prepared_data import Folders, bars_dataset, write_prepared
from tests.training_fixture import UNCHANGED, context, train_params, write_encoder, write_members

SMOOTH = Added(name="Label smoothing", set={"train.label_smoothing": 0.3})
SLOW = Added(name="slow", set={"train.learning_rate": 1.0e-5})
PLAIN = Added(name="no decay", set={"train.weight_decay": 0.0})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What earlier stages leave: train's networks among them."""
    folder, dataset = tmp_path_factory.mktemp("prepared"), bars_dataset(90)
    write_prepared(folder, dataset)
    write_encoder(folder / "pretrain" / "encoder.safetensors", dataset)
    write_members(folder / "train", dataset)
    return folder


def run(
    prepared: Path, folder: Path, *ingredients: Any, adding: Any = "each", **changes: Any
) -> dict[str, Any]:
    folders = Folders(
        *(prepared / name for name in ("ingest", "curate", "split", "class_balance", "duplicates"))
    )
    return ablate.run(
        ablate.Params(ingredients=ingredients, adding=adding),
        ingest=folders.ingest,
        duplicates=folders.duplicates,
        curate=folders.curate,
        split=folders.split,
        class_balance=folders.class_balance,
        pretrain=prepared / "pretrain",
        members=prepared / "train",
        out=folder / "out",
        train=train_params(**changes),
        context=context(folder),
    )


def names_in(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "out/predictions").glob("*.parquet"))


def test_a_network_a_seed_is_trained_without_each_ingredient_and_predicts_val_and_test(
    prepared: Path, tmp_path: Path
) -> None:
    assert run(prepared, tmp_path, "pretraining", "augmentation") == {"n_networks": 4}
    names = names_in(tmp_path)
    assert [row["prediction"] for row in read_csv(tmp_path / "out/predictions/networks.csv")] == [
        f"without_{kind}_seed{seed}" for kind in ("pretraining", "augmentation") for seed in (0, 1)
    ]
    plain = ["seed0", "seed1"]
    assert compared(names, plain) == {
        kind: (plain, [f"without_{kind}_seed{seed}" for seed in (0, 1)])
        for kind in ("augmentation", "pretraining")
    }
    dataset = bars_dataset(90)
    found = [read_predictions(tmp_path / f"out/predictions/{name}.parquet") for name in names]
    wanted = tuple(dataset.sample_ids[at] for at in dataset.part("val", "test"))
    assert all(predictions.sample_ids == wanted for predictions in found)
    assert not np.array_equal(found[0].pred_probs, found[2].pred_probs)
    assert not (tmp_path / "checkpoints" / "k").exists()


def test_each_ingredient_of_ones_own_is_added_to_train_as_it_stands(prepared: Path, tmp_path: Path) -> None:
    assert run(prepared, tmp_path, SMOOTH, SLOW, epochs=6) == {"n_networks": 4}
    assert names_in(tmp_path) == [
        *(f"with_label_smoothing_seed{seed}" for seed in (0, 1)),
        *(f"with_slow_seed{seed}" for seed in (0, 1)),
    ]
    rows = {row["ingredient"]: row for row in read_csv(tmp_path / "out/gains.csv")}
    assert list(rows) == ["label_smoothing", "slow"]
    assert float(rows["slow"]["gain"]) < -0.2, "it learned nothing"
    assert rows["slow"]["helps"] == "False"
    assert {row["n"] for row in rows.values()} == {"18"}
    low, high = float(rows["slow"]["ci_low"]), float(rows["slow"]["ci_high"])
    assert low < float(rows["slow"]["gain"]) < high


def test_in_order_an_ingredient_is_added_to_those_before_it_that_helped(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gains = iter([(0.05, 0.1), (-0.1, 0.1), (0.01, 0.1)])
    told: list[tuple[float, float]] = []

    def gain(a: np.ndarray, b: np.ndarray, *_: object) -> Gain:
        told.append((float(a.mean()), float(b.mean())))
        return Gain(0.0, next(gains), 1.0, len(a), (2, 2))

    monkeypatch.setattr(ablate, "recipe_gain", gain)
    trained: list[Any] = []
    whole = ablate.Bench.train

    def train(self: ablate.Bench, name: str, params: Any, seed: int) -> np.ndarray:
        trained.append((name, params.label_smoothing, params.learning_rate, params.weight_decay))
        return whole(self, name, params, seed)

    monkeypatch.setattr(ablate.Bench, "train", train)
    run(prepared, tmp_path, SMOOTH, SLOW, PLAIN, adding="in_order")
    assert trained[::2] == [
        ("with_label_smoothing_seed0", 0.3, 0.01, 0.01),
        ("with_slow_onto_label_smoothing_seed0", 0.3, 1.0e-5, 0.01),
        ("with_no_decay_onto_label_smoothing_seed0", 0.3, 0.01, 0.0),
    ]
    assert told[1][1] == told[2][1] == told[0][0], "both against label smoothing, not against slow"
    sides = compared(names_in(tmp_path), ["seed0", "seed1"])
    assert sides["slow"][1] == sides["no_decay"][1] == sides["label_smoothing"][0]
    assert sides["label_smoothing"][1] == ["seed0", "seed1"]
    rows = read_csv(tmp_path / "out/gains.csv")
    assert [row["onto"] for row in rows] == ["", "label_smoothing", "label_smoothing"]
    assert [row["helps"] for row in rows] == ["True", "False", "True"]


def test_where_nothing_is_listed_nothing_is_trained_and_the_list_is_empty(
    prepared: Path, tmp_path: Path
) -> None:
    assert run(prepared, tmp_path) == {"n_networks": 0}
    assert read_csv(tmp_path / "out/predictions/networks.csv") == []
    assert read_csv(tmp_path / "out/gains.csv") == []
    assert not names_in(tmp_path)


def test_one_seed_tells_nothing_and_is_refused_before_anything_is_trained(
    prepared: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"one seed tells nothing.*train\.seeds \[0\]: name two or more"):
        run(prepared, tmp_path, SMOOTH, seeds=(0,))
    assert not (tmp_path / "out").exists()


def test_of_a_val_that_is_too_small_no_figure_is_made() -> None:
    row = dict(zip(ablate.COLUMNS, ablate.gain_row("slow", "", None), strict=True))
    assert (row["gain"], row["helps"]) == ("", False)


def test_a_killed_run_takes_up_what_it_had_trained(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tmp_path / "whole"
    run(prepared, expected, SMOOTH)
    monkeypatch.setattr("stages.lib.checkpoint.CheckpointStore.retire", lambda _: None)
    killed = tmp_path / "killed"
    run(prepared, killed, SMOOTH)
    shutil.rmtree(killed / "out")
    monkeypatch.setattr("stages.lib.loop._epoch", lambda *_: pytest.fail("trained again"))
    run(prepared, killed, SMOOTH)
    for path in (expected / "out/predictions").iterdir():
        assert (killed / "out/predictions" / path.name).read_bytes() == path.read_bytes()


def test_a_random_body_learns_as_such_whatever_train_keeps_of_a_pretrained_one() -> None:
    kept = {"frozen_layers": 1, "layer_decay": 0.7, "hold_statistics": True}
    bare = ablate.without(train_params(body_rate=0.1, fine_tune=kept), "pretraining")
    assert bare == train_params(init="random", body_rate=1.0)


def test_without_augmentation_nothing_is_half_said() -> None:
    from stages.lib.augment_params import AugmentSection

    mixed = AugmentSection(**UNCHANGED | {"mix_share": 0.5, "mixup_alpha": 0.4, "flip": True})
    bare = ablate.without(train_params(augment=mixed), "augmentation")
    assert bare.augment == AugmentSection(**UNCHANGED)


def test_what_train_lacks_already_cannot_be_taken_away(prepared: Path, tmp_path: Path) -> None:
    from stages.lib.augment_params import AugmentSection

    with pytest.raises(InputError, match="without pretraining already"):
        run(prepared, tmp_path, "pretraining", init="random")
    with pytest.raises(InputError, match="without augmentation already"):
        run(prepared, tmp_path, "augmentation", augment=AugmentSection(**UNCHANGED))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"train.label_smoothing": 0.05}, "train has it already"),
        ({"train.label_smoothing": 1.5}, "less than 1; received 1.5"),
        (
            {"train.label_smothing": 0.1},
            r"label_smothing: no such key; did you mean 'train\.label_smoothing'",
        ),
        ({"train.widths": [8]}, "cannot be changed: `pretrain`"),
        ({"train.seeds": [8]}, "cannot be changed: an ingredient is trained from the same seeds"),
        ({"train.augment": 1}, "a group of keys"),
        ({"distill.epochs": 1}, r"distill\.epochs: no such key"),
    ],
)
def test_an_ingredient_that_train_refuses_is_refused_before_anything_is_trained(
    prepared: Path, tmp_path: Path, values: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        run(prepared, tmp_path, SLOW, Added(name="it", set=values))
    assert not (tmp_path / "out").exists()


def test_what_those_before_may_have_brought_is_refused_in_order_before_anything_is_trained(
    prepared: Path, tmp_path: Path
) -> None:
    from stages.commands.check import param_faults

    again = Added(name="again", set={"train.label_smoothing": 0.3})
    other = Added(name="other", set={"train.label_smoothing": 0.2})
    told = r"again: train has it already; take it from the list \(where Label smoothing had helped\)"
    for between in ((), (SLOW,), (other,)):  # that the one between helps is not certain
        with pytest.raises(InputError, match=told):
            run(prepared, tmp_path, SMOOTH, *between, again, adding="in_order")
    assert not (tmp_path / "out").exists()
    raw = read_params()
    given = [one.model_dump() for one in (SMOOTH, again)]
    (fault,) = param_faults({**raw, "ablate": {"ingredients": given, "adding": "in_order"}})
    assert "Label smoothing had helped" in fault
    assert not param_faults({**raw, "ablate": {"ingredients": given, "adding": "each"}})


@pytest.mark.parametrize(
    "name", ["ensemble", "Augmentation", "label smoothing", "a onto b", "x onto", "onto", "../x", ""]
)
def test_a_name_that_says_another_thing_or_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        ablate.Params(ingredients=(SMOOTH, Added(name=name, set={"train.dropout": 0.1})), adding="each")


def test_the_check_before_the_chain_names_what_cannot_be_ablated() -> None:
    from stages.commands.check import param_faults

    raw = read_params()
    given = [{"name": "it", "set": {"train.dropout": 2.0}}, "pretrainig"]
    faults = param_faults({**raw, "ablate": {"ingredients": given[:1], "adding": "each"}})
    assert faults == [
        "  ablate.ingredients, it: train.dropout: should be less than 1; received 2.0 (float)",
    ]
    faults = param_faults({**raw, "ablate": {"ingredients": given, "adding": "each"}})
    assert "pretrainig" in faults[0]


def test_without_augmentation_every_image_stays_as_it_is() -> None:
    from stages.lib.augment import Augmentation

    plain = ablate.without(train_params(), "augmentation").augment.value()
    off = Augmentation(**UNCHANGED)
    assert {key: getattr(plain, key) for key in ablate.UNCHANGED} == {
        key: getattr(off, key) for key in ablate.UNCHANGED
    }


def test_without_pretraining_the_body_starts_from_nothing_and_all_of_it_learns() -> None:
    plain = ablate.without(train_params(fine_tune={"frozen_layers": 1}), "pretraining")
    assert (plain.init, plain.body_rate, plain.fine_tune.frozen_layers) == ("random", 1.0, 0)
    assert plain.epochs == train_params().epochs
