import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.lib.normalise import LEAST_STD, denormalise, fit_normalisation, normalise

images = arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(4), st.just(4), st.sampled_from([1, 3])))


@settings(max_examples=50, deadline=None)
@given(images)
def test_statistics_are_those_of_numpy(pixels: np.ndarray) -> None:
    found = fit_normalisation(pixels)
    scaled = pixels.astype(np.float64) / 255
    np.testing.assert_allclose(found.mean, scaled.mean((0, 1, 2)), atol=1e-12)
    np.testing.assert_allclose(found.std, np.maximum(scaled.std((0, 1, 2)), LEAST_STD), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(images)
def test_denormalise_undoes_normalise(pixels: np.ndarray) -> None:
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    facts = fit_normalisation(pixels)
    assert torch.allclose(denormalise(normalise(batch, facts), facts), batch, atol=1e-5)
