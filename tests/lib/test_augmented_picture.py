import numpy as np
import torch

from stages.lib.augment import Augmentation
from stages.lib.augmented_picture import augmented_views
from stages.lib.batch_picture import COLUMNS
from stages.lib.loop import TrainingSet
from stages.lib.normalise import Normalisation
from stages.lib.recipe import Phase, Recipe
from tests.prepared_data import bars

RECIPE = Recipe((Phase("all", 1, 1.0),), 10, 3e-3, 0.1, 0.2, 0.0, None, seed=5)


def views(augmentation: Augmentation | None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    pixels, labels = bars(20)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    data = TrainingSet(images, tuple(map(str, range(20))), Normalisation((0.3,), (0.25,)))
    recipe = Recipe(**{**vars(RECIPE), "augmentation": augmentation})
    tiles, captions = augmented_views(
        data, recipe, torch.arange(3, 14), [f"bar {label}" for label in labels[3:14]]
    )
    return pixels[3:11], tiles, captions


def test_each_row_is_one_sample_as_it_is_and_in_seven_views() -> None:
    pixels, tiles, captions = views(Augmentation(rotation_degrees=20.0))
    rows = tiles.reshape(8, COLUMNS, *tiles.shape[1:])
    assert np.array_equal(rows[:, 0], pixels)
    assert all(len({row.tobytes() for row in views}) == COLUMNS for views in rows)
    assert captions[:COLUMNS] == [captions[0]] * COLUMNS


def test_without_augmentation_all_views_are_the_sample() -> None:
    pixels, tiles, _ = views(None)
    assert np.array_equal(tiles.reshape(8, COLUMNS, *tiles.shape[1:])[:, 5], pixels)


def test_what_was_mixed_in_is_named() -> None:
    _, _, captions = views(Augmentation(mix_share=1.0, mixup_alpha=1.0))
    named = [caption for place, caption in enumerate(captions) if place % COLUMNS]
    assert sum("% +bar" in caption for caption in named) > 40
