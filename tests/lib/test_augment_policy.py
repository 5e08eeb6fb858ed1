import pytest
import torch

from stages.lib import augment_policy as policy
from stages.lib.augment_policy import OPERATIONS, applied, by_policy, drawn, magnitudes
from tests.lib.augment_fixture import draws, even, scenes


def strongest(wide: bool, side: int) -> dict[str, float]:
    """Return the end of each range in the installed torchvision, whose operations come in our order."""
    from torchvision.transforms.autoaugment import RandAugment, TrivialAugmentWide

    bins = policy.MOST_MAGNITUDE + 1
    narrow = RandAugment()._augmentation_space(bins, (side, side))
    space = TrivialAugmentWide()._augmentation_space(bins) if wide else narrow
    return {
        name: float(magnitudes[-1])
        for name, (magnitudes, _) in zip(OPERATIONS, space.values(), strict=True)
        if magnitudes.ndim
    }


@pytest.mark.parametrize("side", [32, 96, 224])
@pytest.mark.parametrize("wide", [False, True])
def test_the_ranges_end_where_those_of_the_installed_torchvision_do(wide: bool, side: int) -> None:
    theirs = strongest(wide, side)
    assert theirs.keys() == set(OPERATIONS[: policy.FIRST_WITHOUT]) - {"identity"}
    for name in policy.GEOMETRIC:
        unit = side if name.startswith("translate") else 1
        assert policy.range_end(name, side, wide=wide) * unit == pytest.approx(theirs[name])
    for name in policy.ENHANCING:
        assert policy.ENHANCED["wide" if wide else "narrow"] == pytest.approx(theirs[name])
    assert 8 - policy.range_end("posterise", side, wide=wide) == theirs["posterise"]
    assert theirs["solarise"] == 0.0


@pytest.mark.parametrize(("side", "left"), [(8, 0), (32, 0), (40, 8), (224, 192)])
@pytest.mark.parametrize("name", ["translate_x", "translate_y"])
def test_trivialaugment_moves_by_32_pixels_at_most_whatever_the_size(name: str, side: int, left: int) -> None:
    # Müller and Hutter's 32 pixels; torchvision moves so far at 224 as well, not by the whole picture.
    images = torch.ones(2, 1, side, side)
    operation = torch.full((2,), OPERATIONS.index(name))
    moved = applied(images, operation, even(2, 1.0), torch.tensor([1.0, -1.0]), "zeros", wide=True)
    assert moved.mean((1, 2, 3)).tolist() == pytest.approx([left / side] * 2, abs=1e-4)


def test_every_operation_is_drawn_equally_often() -> None:
    counts = torch.bincount(drawn(draws(1, 28_000)[0]), minlength=14)
    assert int(counts.min()) > 2000 - 180  # four standard deviations
    assert int(counts.max()) < 2000 + 180


def test_randaugment_goes_m_of_thirty_and_trivialaugment_anywhere() -> None:
    uniform = draws(1, 3000)[0]
    assert torch.allclose(magnitudes("randaugment", uniform, 9, even(3000, 1.0)), torch.tensor(0.3))
    assert torch.equal(magnitudes("trivialaugment", uniform, 9, even(3000, 1.0)), uniform)
    halves = magnitudes("randaugment", uniform, 30, torch.linspace(0, 2, 3000))
    assert torch.allclose(halves, torch.linspace(0, 2, 3000).clamp(max=1))


def test_n_operations_are_applied_to_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def count(images: torch.Tensor, operation: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        seen.append(operation)
        return images

    monkeypatch.setattr(policy, "applied", count)
    uniform = draws(policy.DRAWS * policy.MOST_OPERATIONS, 500)
    for name, operations, wanted in (("randaugment", 3, 3), ("randaugment", 1, 1), ("trivialaugment", 3, 1)):
        seen.clear()
        by_policy(scenes(500, 4), name, (operations, 9), uniform, even(500, 1.0), "zeros")  # type: ignore[arg-type]
        assert len(seen) == wanted
        assert all(len(operation.unique()) == 14 for operation in seen)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_changes_its_images_alone_and_more_with_its_reach(name: str) -> None:
    images = scenes(4)
    operation = torch.tensor([0, OPERATIONS.index(name), 0, OPERATIONS.index(name)])
    changes = []
    for reach in (0.0, 0.4, 1.0):
        found = applied(images, operation, even(4, reach), even(4, 1.0), "zeros", wide=False)
        assert torch.equal(found[::2], images[::2])
        changes.append(float((found - images)[1::2].abs().mean()))
    if name in ("autocontrast", "equalise"):
        assert 0 < changes[0] == changes[2]
    elif name != "identity":
        assert changes[0] < 1e-6 < changes[1] < changes[2]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["randaugment", "trivialaugment"])
def test_no_strength_does_nothing_and_results_stay_in_range(name: str, channels: int) -> None:
    images = scenes(60, 16, channels)
    uniform = draws(policy.DRAWS * policy.MOST_OPERATIONS, 60)
    none = by_policy(images, name, (2, 30), uniform, even(60, 0.0), "border")  # type: ignore[arg-type]
    assert float((none - images).abs().max()) < 1e-5
    found = by_policy(images, name, (2, 30), uniform, even(60, 1.0), "border")  # type: ignore[arg-type]
    assert 0 <= float(found.min()) <= float(found.max()) <= 1 + 1e-6
    assert float((found - images).abs().amax((1, 2, 3)).gt(0.01).float().mean()) > 0.7


def test_sixteen_degrees_towards_either_side_are_mirror_images() -> None:
    image = scenes(1).expand(2, -1, -1, -1)
    both = torch.stack([image[0], image[1].flip(2)])
    turned = applied(
        both, torch.tensor([5, 5]), even(2, 16 / 30), torch.tensor([1.0, -1.0]), "zeros", wide=False
    )
    assert OPERATIONS[5] == "rotate"
    assert torch.allclose(turned[0], turned[1].flip(2).flip(1).flip(1), atol=1e-5)
