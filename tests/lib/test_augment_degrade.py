import io

import pytest
import torch
from PIL import Image
from torch.nn import functional

from stages.lib import augment_degrade as degrade
from tests.lib.augment_fixture import even, from_pillow, scenes, to_pillow


def pillows_jpeg(image: torch.Tensor, quality: int) -> torch.Tensor:
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, format="JPEG", quality=quality)
    return from_pillow(Image.open(buffer))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [32, 21])
@pytest.mark.parametrize("quality", [5, 30, 50, 75, 95])
def test_jpeg_is_pillows_to_within_a_level(quality: int, side: int, channels: int) -> None:
    images = scenes(8, side, channels)
    found = degrade.compressed(images, even(8, quality))
    wanted = torch.stack([pillows_jpeg(image, quality) for image in images])
    off, lost = (found - wanted) * 255, (images - wanted) * 255
    # libjpeg's cosines are integers: a coefficient near half a step falls to the other side now and then.
    assert float(off.abs().mean()) < max(0.8, 0.08 * float(lost.abs().mean()))
    assert abs(float(off.mean())) < 0.1


def test_each_picture_has_its_own_quality_and_lower_loses_more() -> None:
    images = scenes(1).expand(4, -1, -1, -1)
    lost = (degrade.compressed(images, torch.tensor([95.0, 60, 25, 5])) - images).abs().mean((1, 2, 3))
    assert lost.tolist() == sorted(lost.tolist())
    assert float(lost[3]) > 3 * float(lost[0])


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
def test_fewer_pixels_are_torchs_antialiased_resize_and_back(height: int, width: int) -> None:
    images = scenes(5, 40)[:, :, :height, :width]
    shares = torch.tensor([0.25, 0.3, 0.5, 0.77, 1.0])
    found = degrade.downscaled(images, shares)
    for image, changed, share in zip(images, found, shares, strict=True):
        size = [int((share * side).round()) for side in (height, width)]
        small = functional.interpolate(image[None], size, mode="bilinear", antialias=True)
        wanted = functional.interpolate(small, (height, width), mode="bilinear")[0]
        assert torch.allclose(changed, wanted, atol=1e-5)
    assert torch.allclose(found[4], images[4], atol=1e-6)


def test_blur_is_scipys_gaussian_with_mirrored_borders() -> None:
    from scipy.ndimage import gaussian_filter

    images = scenes(4)[:, :, :, :24]
    sigmas = torch.tensor([0.0, 0.5, 1.0, 2.5])
    for image, changed, sigma in zip(images, degrade.blurred(images, sigmas), sigmas.tolist(), strict=True):
        wanted = gaussian_filter(image.numpy(), (0, sigma, sigma), mode="reflect", truncate=8)
        assert torch.allclose(changed, torch.from_numpy(wanted), atol=1e-5)


def test_blur_keeps_the_mean_and_lessens_detail() -> None:
    images = scenes(3)
    found = degrade.blurred(images, torch.tensor([0.7, 1.5, 4.0]))
    assert torch.allclose(found.mean((2, 3)), images.mean((2, 3)), atol=1e-5)
    detail = [float(picture.diff(dim=2).abs().mean()) for picture in found]
    assert detail == sorted(detail, reverse=True)
