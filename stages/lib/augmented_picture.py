"""What augmentation does, for a person to judge: would they still give each picture its label?"""

from collections.abc import Sequence

import numpy as np
import torch

from stages.lib.augment_mix import Mix
from stages.lib.batch_picture import COLUMNS
from stages.lib.counters import generator
from stages.lib.loop import TrainingSet, mix, prepare
from stages.lib.normalise import denormalise, normalise
from stages.lib.recipe import Recipe

ROWS = 8


def augmented_views(
    data: TrainingSet, recipe: Recipe, batch: torch.Tensor, names: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """Return tiles (N, H, W, C) uint8 and captions, a row a sample: as it is, then as training will see it.

    batch (B,) are positions in the training set, names (B) their classes; what is mixed in is named too.
    """
    plain = normalise(data.images[batch].float() / 255, data.normalisation)
    columns = [(plain, list(names))]
    for view in range(COLUMNS - 1):
        randomness = generator(plain.device, "augmented", recipe.seed, view)
        images, mixture = mix(prepare(data, recipe, batch, randomness), recipe, randomness)
        columns.append((images, _captions(names, mixture)))
    shown = min(ROWS, len(batch))
    tiles = torch.stack([images[:shown] for images, _ in columns], 1).flatten(0, 1)
    pixels = denormalise(tiles, data.normalisation).clamp(0, 1) * 255
    captions = [words[row] for row in range(shown) for _, words in columns]
    return np.asarray(pixels.round().byte().permute(0, 2, 3, 1).cpu().numpy()), captions


def _captions(names: Sequence[str], mixture: Mix | None) -> list[str]:
    if mixture is None:
        return list(names)
    both = zip(names, mixture.partner.tolist(), mixture.own.tolist(), strict=True)
    return [name if own > 0.995 else f"{own:.0%} +{names[partner]}" for name, partner, own in both]
