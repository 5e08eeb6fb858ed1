"""Ablate: what each ingredient of a training recipe brings, by networks trained without it, or with it.

For each listed ingredient one more network per seed of `train`, alike in all else, and its predictions of val
and test. Pretraining and augmentation are taken away from train's params; an ingredient of the user's own is
added to them, or (adding: in_order) to those before it that helped on val, so that a recipe grows from what
was shown to help. Named by `lib/ingredients.py`; `evaluate` holds them against each other on test in its
table of gains, with seeds counted beside images (`lib/recipe_gain.py`): that takes two seeds or more.

Reads what `train` reads and its networks; writes predictions/ with a list of the networks, and gains.csv, the
same gains on val. Costs as much as `train` for each ingredient, and half a second where none is listed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator

from stages import train as training
from stages.lib.artifacts import write_csv
from stages.lib.class_plan import ClassPlan, read_plan
from stages.lib.cli import Context, stage_main
from stages.lib.config import Section
from stages.lib.dataset import Dataset, load_dataset
from stages.lib.errors import InputError
from stages.lib.ingredients import (
    Added,
    Ingredient,
    added_faults,
    check_names,
    prediction_name,
    slug_of,
    with_added,
)
from stages.lib.predictions import Predictions, write_predictions
from stages.lib.progress import say
from stages.lib.recipe_gain import Gain, recipe_gain
from stages.lib.training_params import NOTHING_KEPT
from stages.lib.truth import Truth, load_truth

if TYPE_CHECKING:
    import torch

PREDICTED = ("val", "test")

CONFIDENCE = 0.95
COLUMNS = ("ingredient", "onto", "gain", "ci_low", "ci_high", "p_value", "n", "seeds", "helps")

UNCHANGED: dict[str, Any] = {
    "rotation_degrees": 0.0,
    "shift": 0.0,
    "zoom": 0.0,
    "aspect": 0.0,
    "shear": 0.0,
    "flip": False,
    "crop_pixels": 0,
    "crop_min_area": 1.0,
    "policy": "none",
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "downscale_share": 0.0,
    "blur_share": 0.0,
    "jpeg_share": 0.0,
    "erase_share": 0.0,
    "cutout": 0.0,
    "mix_share": 0.0,
    "mixup_alpha": 0.0,
    "cutmix_alpha": 0.0,
    "paste": False,
}
"""The keys of train.augment that leave every image as it is."""


class Params(Section):
    """Section `ablate`."""

    ingredients: Annotated[tuple[Ingredient, ...], AfterValidator(check_names)]
    adding: Literal["each", "in_order"]


def without(params: training.Params, ingredient: str) -> training.Params:
    """Return train's params without one ingredient."""
    if ingredient == "augmentation":
        return params.model_copy(update={"augment": params.augment.model_copy(update=UNCHANGED)})
    free = params.fine_tune.model_copy(update=NOTHING_KEPT)
    return params.model_copy(update={"init": "random", "body_rate": 1.0, "fine_tune": free})


def lacks(params: training.Params, ingredient: str) -> bool:
    """Say whether train's params are without an ingredient as they stand."""
    if ingredient == "augmentation":
        return without(params, ingredient) == params
    return params.init == "random"


def having(params: training.Params, added: Added) -> training.Params:
    """Return train's params with an ingredient; InputError where the two do not go together."""
    changed, faults = with_added(params, added)
    _refuse(faults)
    return changed


def faults_of(params: Params, train: training.Params) -> list[str]:
    """Return one line per fault of what is to be taken from train or added to it."""
    if not params.ingredients:
        return []
    faults = []
    if len(train.seeds) < 2:
        faults.append(
            f"  ablate.ingredients: one seed tells nothing of them; received train.seeds "
            f"{list(train.seeds)}: name two or more there"
        )
    for one in params.ingredients:
        if isinstance(one, str) and lacks(train, one):
            faults.append(f"  ablate.ingredients: train does without {one} already; take it from the list")
    added = [one for one in params.ingredients if isinstance(one, Added)]
    return faults + added_faults(train, added, in_order=params.adding == "in_order")


def recipes_of(params: Params) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what each ingredient of the user's own sets, and what a message about it begins with."""
    own = [one for one in params.ingredients if isinstance(one, Added)]
    return [(f"ablate.ingredients, {one.name}", one.set) for one in own]


def _refuse(faults: list[str]) -> None:
    if faults:
        raise InputError("params.yaml cannot be ablated so:\n" + "\n".join(faults))


@dataclass(frozen=True)
class Bench:
    """What every network of the stage is trained on, and where it goes."""

    dataset: Dataset
    plan: ClassPlan
    truth: Truth
    encoder: Path
    curate: Path
    out: Path
    context: Context

    def right(self, probs: np.ndarray) -> np.ndarray:
        """Return (V,) which val samples pred_probs (N, K) of the val and test samples get right."""
        val = self.truth.split == "val"
        return np.asarray(probs.argmax(axis=1)[val] == self.truth.labels[val], np.float64)

    def images(self) -> "torch.Tensor":
        """Return the val and test images (N, C, H, W) uint8 on the device."""
        from stages.lib.device import torch_device
        from stages.lib.feeding import images_near

        pixels = self.dataset.pixels[self.dataset.part(*PREDICTED)]
        return images_near(pixels, torch_device(pixels.shape[1]))

    def groups(self) -> np.ndarray:
        """Return the groups (V,) of the val samples, 0..G-1."""
        return np.unique(self.truth.groups[self.truth.split == "val"], return_inverse=True)[1]

    def train(self, name: str, params: training.Params, seed: int) -> np.ndarray:
        """Train one network, write what it predicts; return (V,) what it got right on val."""
        from stages.lib.checkpoint import CheckpointStore
        from stages.lib.soft_targets import annotator_targets
        from stages.lib.views import PLAIN, class_probs

        votes = params.targets == "annotators"
        train = self.dataset.part("train")
        soft = annotator_targets(self.curate, self.dataset, train) if votes else None
        store = CheckpointStore(self.context.checkpoints / name, self.context.key)
        state, card, _ = training.fit_classifier(
            self.dataset, self.plan, self.encoder, params, seed, store, None, soft
        )
        probs = class_probs(state.averaged, self.images(), card.normalisation, PLAIN).cpu().numpy()
        found = Predictions(self.truth.sample_ids, tuple(map(str, self.truth.split)), probs)
        write_predictions(self.out / "predictions" / f"{name}.parquet", found)
        return self.right(probs)


def run(
    params: Params,
    *,
    ingest: Path,
    duplicates: Path,
    curate: Path,
    split: Path,
    class_balance: Path,
    pretrain: Path,
    members: Path,
    out: Path,
    train: training.Params,
    context: Context,
) -> dict[str, Any]:
    """Train the networks of every ingredient, write what they predict, and what each brings on val."""
    _refuse(faults_of(params, train))
    networks: list[tuple[str, str, int]] = []
    rows: list[tuple[object, ...]] = []
    if params.ingredients:
        from stages.lib.weights import ENCODER

        dataset = load_dataset(ingest, curate, split)
        plan = read_plan(class_balance, dataset.classes)
        truth = load_truth(curate, split, duplicates)
        bench = Bench(dataset, plan, truth, pretrain / ENCODER, curate, out, context)
        networks, rows = compare_all(params, train, bench, members)
    write_csv(out / "predictions" / "networks.csv", ("prediction", "ingredient", "seed"), networks)
    write_csv(out / "gains.csv", COLUMNS, rows)
    return {"n_networks": len(networks)}


def compare_all(
    params: Params, train: training.Params, bench: Bench, members: Path
) -> tuple[list[tuple[str, str, int]], list[tuple[object, ...]]]:
    """Return (prediction, ingredient, seed) of every network, and a row of gains.csv an ingredient.

    A killed run goes on where it was.
    """
    from stages.lib.checkpoint import CheckpointStore

    plain = members_right(members, train.seeds, bench)
    base, onto, right = train, "", plain
    networks, rows = [], []
    for one in params.ingredients:
        onto_this = onto if isinstance(one, Added) else ""
        recipe = having(base, one) if isinstance(one, Added) else without(train, one)
        names = [prediction_name(one, onto_this, seed) for seed in train.seeds]
        found = np.stack(
            [bench.train(name, recipe, seed) for name, seed in zip(names, train.seeds, strict=True)], axis=1
        )
        networks += [(name, slug_of(one), seed) for name, seed in zip(names, train.seeds, strict=True)]
        sides = (found, right) if isinstance(one, Added) else (plain, found)
        gain = recipe_gain(*sides, bench.groups(), CONFIDENCE)
        rows.append(gain_row(slug_of(one), onto_this, gain))
        if isinstance(one, Added) and params.adding == "in_order" and helps(gain):
            base, onto, right = recipe, one.slug, found
    # Kept until all are done, so that a killed run need not train again what it had finished.
    CheckpointStore(bench.context.checkpoints, bench.context.key).retire()
    return networks, rows


def members_right(members: Path, seeds: Sequence[int], bench: Bench) -> np.ndarray:
    """Return (V, S) which val samples train's own networks get right."""
    from stages.lib.ensemble import load_members
    from stages.lib.views import PLAIN

    found = load_members(members, seeds, bench.dataset)
    images = bench.images()
    return np.stack(
        [bench.right(member.probs(images, PLAIN).cpu().numpy()) for member in found.values()], axis=1
    )


def helps(gain: Gain | None) -> bool:
    """Say whether an ingredient is kept: its gain on val is above 0 beyond chance."""
    return gain is not None and gain.interval[0] > 0


def gain_row(slug: str, onto: str, gain: Gain | None) -> tuple[object, ...]:
    """Return a row of gains.csv, without figures where val is too small for any."""
    if gain is None:
        say(f"{slug}: fewer than two val images tell nothing of it; see split.val_fraction")
        return slug, onto, "", "", "", "", "", "", False
    low, high = gain.interval
    return slug, onto, gain.difference, low, high, gain.p_value, gain.n, gain.n_seeds[0], helps(gain)


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
