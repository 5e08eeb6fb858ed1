import pytest
import torch

from stages.lib import augment_policy as policy
from stages.lib.augment_policy import OPERATIONS, applied, by_policy, drawn, magnitudes
from tests.lib.augment_fixture import draws, even, scenes

# torchvision's RandAugment at M of 30 and TrivialAugmentWide at its strongest: what each operation gets.
STRONGEST = {
    "shear_x": (0.3, 0.99),
    "shear_y": (0.3, 0.99),
    "translate_x": (150 / 331, 1.0),
    "translate_y": (150 / 331, 1.0),
    "rotate": (30.0, 135.0),
    "posterise": (4.0, 6.0),
}


def test_the_ranges_end_where_torchvisions_end() -> None:
    for name, (narrow, wide) in STRONGEST.items():
        assert policy.NARROW[name] == pytest.approx(narrow)
        assert policy.WIDE[name] == pytest.approx(wide)
    assert policy.ENHANCED == {"narrow": 0.9, "wide": 0.99}
    assert len(OPERATIONS) == 14


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
