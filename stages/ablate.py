"""Ablate: what pretraining and augmentation bring, by networks trained without them.

For each listed ingredient, one more network per seed of `train`, alike in all else, and its predictions of
val and test as without_<ingredient>_seed<k>. `evaluate` holds them against seed<k> in its table of gains,
with seeds counted beside images (`lib/recipe_gain.py`): it takes two seeds or more to say anything.

Reads what `train` reads; writes predictions/ with a list of the networks. Costs as much as `train` for each
ingredient, and half a second where none is listed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from stages import train as training
from stages.lib.artifacts import write_csv
from stages.lib.class_plan import read_plan
from stages.lib.cli import Context, stage_main
from stages.lib.config import Section
from stages.lib.dataset import load_dataset
from stages.lib.errors import InputError
from stages.lib.predictions import Predictions, write_predictions

Ingredient = Literal["pretraining", "augmentation"]
PREDICTED = ("val", "test")

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
}
"""The keys of train.augment that leave every image as it is."""


class Params(Section):
    """Section `ablate`."""

    ingredients: tuple[Ingredient, ...]


def without(params: training.Params, ingredient: Ingredient) -> training.Params:
    """Return train's params without one ingredient; InputError where they are without it already."""
    if ingredient == "augmentation":
        plain = params.augment.model_copy(update=UNCHANGED)
        changes: dict[str, Any] = {"augment": plain}
        missing = plain == params.augment
    else:
        free = params.fine_tune.model_copy(update={"frozen_layers": 0})
        changes = {"init": "random", "body_rate": 1.0, "fine_tune": free}
        missing = params.init == "random"
    if missing:
        raise InputError(
            f"ablate.ingredients: train does without {ingredient} already; take it from the list"
        )
    return params.model_copy(update=changes)


def run(
    params: Params,
    *,
    ingest: Path,
    curate: Path,
    split: Path,
    class_balance: Path,
    pretrain: Path,
    out: Path,
    train: training.Params,
    context: Context,
) -> dict[str, Any]:
    """Train the networks that lack an ingredient and write what they predict."""
    recipes = {ingredient: without(train, ingredient) for ingredient in params.ingredients}
    networks = [
        (name_of(ingredient, seed), ingredient, seed) for ingredient in recipes for seed in train.seeds
    ]
    write_csv(out / "predictions" / "networks.csv", ("prediction", "ingredient", "seed"), networks)
    if recipes:
        fit_all(recipes, train.seeds, (ingest, curate, split), class_balance, pretrain, out, context)
    return {"n_networks": len(networks)}


def name_of(ingredient: Ingredient, seed: int) -> str:
    """Return the prediction's name, as `lib/gains.py` finds it again."""
    return f"without_{ingredient}_seed{seed}"


def fit_all(
    recipes: dict[Ingredient, training.Params],
    seeds: Sequence[int],
    data: tuple[Path, Path, Path],
    class_balance: Path,
    pretrain: Path,
    out: Path,
    context: Context,
) -> None:
    """Train one network a recipe and seed; a killed run goes on where it was."""
    from stages.lib.checkpoint import CheckpointStore
    from stages.lib.device import torch_device
    from stages.lib.soft_targets import annotator_targets
    from stages.lib.tasks import as_images
    from stages.lib.views import PLAIN, class_probs
    from stages.lib.weights import ENCODER

    dataset = load_dataset(*data)
    plan = read_plan(class_balance, dataset.classes)
    positions = dataset.part(*PREDICTED)
    ids = tuple(dataset.sample_ids[position] for position in positions)
    places = tuple(str(name) for name in dataset.split[positions])
    pixels = dataset.pixels[positions]
    for ingredient, params in recipes.items():
        votes = params.targets == "annotators"
        soft = annotator_targets(data[1], dataset, dataset.part("train")) if votes else None
        for seed in seeds:
            name = name_of(ingredient, seed)
            store = CheckpointStore(context.checkpoints / name, context.key)
            state, card, _ = training.fit_classifier(
                dataset, plan, pretrain / ENCODER, params, seed, store, None, soft
            )
            images = as_images(pixels, torch_device(pixels.shape[1]))
            probs = class_probs(state.averaged, images, card.normalisation, PLAIN).cpu().numpy()
            write_predictions(out / "predictions" / f"{name}.parquet", Predictions(ids, places, probs))
    # Kept until all are done, so that a killed run need not train again what it had finished.
    CheckpointStore(context.checkpoints, context.key).retire()


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
