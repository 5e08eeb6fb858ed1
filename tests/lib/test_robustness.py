import pytest
import torch

from stages.lib import robustness
from stages.lib.robustness import CHANGES, changed, said_under

STRENGTHS = {"resolution": 1.0, "aspect": 1.0, "jpeg": 100.0, "brightness": 1.0, "blur": 1e-6}


def pictures(side: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.rand(6, 3, side // 4, side // 4, generator=generator)
    large = torch.nn.functional.interpolate(smooth, scale_factor=4, mode="bilinear")
    return (large * 255).to(torch.uint8).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", list(STRENGTHS))
def test_the_weakest_strength_changes_next_to_nothing(kind: str) -> None:
    images = pictures()
    away = (changed(images, kind, STRENGTHS[kind]).int() - images.int()).abs().float()
    # JPEG halves the resolution of colour at any quality, and these pictures are nothing but colour.
    assert away.mean() <= (6 if kind == "jpeg" else 0.01)


@pytest.mark.parametrize(
    ("kind", "weak", "strong"),
    [
        ("resolution", 0.75, 0.25),
        ("aspect", 1.1, 2.0),
        ("jpeg", 75.0, 5.0),
        ("brightness", 0.8, 0.2),
        ("blur", 0.02, 0.2),
        ("shift", 0.0625, 0.25),
    ],
)
def test_a_stronger_change_changes_more_and_stays_a_picture(kind: str, weak: float, strong: float) -> None:
    images = pictures()
    little, much = changed(images, kind, weak), changed(images, kind, strong)
    assert (little.shape, little.dtype) == (images.shape, torch.uint8)
    assert (much.int() - images.int()).abs().sum() > (little.int() - images.int()).abs().sum() > 0


def test_what_is_said_is_listed_by_kind_and_strength_in_a_fixed_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels = {"blur": [0.1], "jpeg": [50.0, 10.0], "shift": []}

    def said() -> dict[tuple[str, float], torch.Tensor]:
        seen: list[torch.Tensor] = []

        def probs(worse: torch.Tensor) -> torch.Tensor:
            seen.append(worse)
            return worse.float().mean((2, 3))

        found = said_under(pictures(), levels, probs, torch.device("cpu"))
        everything.append(torch.stack(seen))
        return found

    everything: list[torch.Tensor] = []
    found = said()
    monkeypatch.setattr(robustness, "CHUNK", 4)
    said()
    assert torch.equal(*everything)  # however many are changed at once
    assert list(found) == [("jpeg", 50.0), ("jpeg", 10.0), ("blur", 0.1)]
    assert all(classes.shape == (6,) for classes in found.values())
    assert set(CHANGES) == {"resolution", "aspect", "jpeg", "brightness", "blur", "shift"}
