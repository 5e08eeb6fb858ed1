from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import ablate
from stages.lib.artifacts import read_csv
from stages.lib.errors import InputError
from stages.lib.gains import ablated
from stages.lib.predictions import read_predictions
from tests.prepared_data import bars_dataset, write_prepared
from tests.training_fixture import UNCHANGED, context, train_params, write_encoder


def run(folder: Path, *ingredients: str, **changes: Any) -> dict[str, Any]:
    dataset = bars_dataset(90)
    folders = write_prepared(folder, dataset)
    write_encoder(folder / "pretrain" / "encoder.safetensors", dataset)
    return ablate.run(
        ablate.Params(ingredients=ingredients),
        ingest=folders.ingest,
        curate=folders.curate,
        split=folders.split,
        class_balance=folders.class_balance,
        pretrain=folder / "pretrain",
        out=folder / "out",
        train=train_params(**changes),
        context=context(folder),
    )


def test_a_network_a_seed_is_trained_without_each_ingredient_and_predicts_val_and_test(
    tmp_path: Path,
) -> None:
    assert run(tmp_path, "pretraining", "augmentation") == {"n_networks": 4}
    names = sorted(path.stem for path in (tmp_path / "out/predictions").glob("*.parquet"))
    assert [row["prediction"] for row in read_csv(tmp_path / "out/predictions/networks.csv")] == [
        f"without_{kind}_seed{seed}" for kind in ("pretraining", "augmentation") for seed in (0, 1)
    ]
    assert ablated(names) == {
        kind: [f"without_{kind}_seed{seed}" for seed in (0, 1)] for kind in ("augmentation", "pretraining")
    }
    dataset = bars_dataset(90)
    found = [read_predictions(tmp_path / f"out/predictions/{name}.parquet") for name in names]
    wanted = tuple(dataset.sample_ids[at] for at in dataset.part("val", "test"))
    assert all(predictions.sample_ids == wanted for predictions in found)
    assert not np.array_equal(found[0].pred_probs, found[2].pred_probs)
    assert not (tmp_path / "checkpoints" / "k").exists()


def test_where_nothing_is_listed_nothing_is_trained_and_the_list_is_empty(tmp_path: Path) -> None:
    assert run(tmp_path) == {"n_networks": 0}
    assert read_csv(tmp_path / "out/predictions/networks.csv") == []
    assert not list((tmp_path / "out/predictions").glob("*.parquet"))


def test_what_train_lacks_already_cannot_be_taken_away(tmp_path: Path) -> None:
    from stages.lib.augment_params import AugmentSection

    with pytest.raises(InputError, match="without pretraining already"):
        run(tmp_path, "pretraining", init="random")
    with pytest.raises(InputError, match="without augmentation already"):
        run(tmp_path, "augmentation", augment=AugmentSection(**UNCHANGED))


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
