import pytest
import yaml

from stages import distill, predict, preflight, pretrain, train
from stages.lib.config import Section, parse_section, read_params

SECTIONS: dict[str, type[Section]] = {
    "preflight": preflight.Params,
    "pretrain": pretrain.Params,
    "train": train.Params,
    "distill": distill.Params,
    "predict": predict.Params,
}

BAD = [
    ("train.learning_rate", "0"),
    ("train.learning_rate", "-0.1"),
    ("train.learning_rate", "1.0e+9"),
    ("train.learning_rate", ".nan"),
    ("train.epochs", "0"),
    ("train.epochs", "true"),
    ("train.batch_size", "0"),
    ("train.batch_size", "-1"),
    ("train.label_smoothing", "1.0"),
    ("train.seeds", "[]"),
    ("train.seeds", "[1, 1]"),
    ("train.seeds", "[-1]"),
    ("train.widths", "[12]"),
    ("train.widths", "[]"),
    ("train.augment.padding", "wrap"),
    ("train.augment.rotation_degrees", "181.0"),
    ("train.augment.crop_min_area", "0.0"),
    ("train.augment.policy", "autoaugment"),
    ("train.augment.policy_operations", "0"),
    ("train.augment.jpeg_quality", "0"),
    ("train.augment.hue", "0.6"),
    ("train.augment.erase_area", "[0.02]"),
    ("train.augment.erase_area", "[0.3, 0.1]"),
    ("train.augment.mixup_alpha", "-1.0"),
    ("train.augment.mix_share", "0.5"),
    ("train.init", "imagenet"),
    ("pretrain.mask_share", "1.0"),
    ("distill.temperature", "0.0"),
    ("distill.hard_weight", "1.5"),
    ("predict.views", "[]"),
    ("predict.views", "[{x: 0, y: 0, flip: false, weight: 0.0}]"),
    ("preflight.batch_size", "1"),
]


@pytest.mark.parametrize(("key", "value"), BAD)
def test_p3_p4_what_no_training_can_use_is_refused_by_its_name(key: str, value: str) -> None:
    section, *inner, name = key.split(".")
    values = read_params()
    place = values[section]
    for part in inner:
        place = place[part]
    place[name] = yaml.safe_load(value)
    parsed, faults = parse_section(SECTIONS[section], section, values)
    assert parsed is None
    assert any(fault.strip().startswith(f"{section}.") and name in fault for fault in faults)


HALF_SAID: list[tuple[dict[str, object], str]] = [
    ({"mixup_alpha": 0.2}, "mixup_alpha: no image is mixed while mix_share is 0"),
    ({"cutmix_alpha": 1.0, "paste": True}, "cutmix_alpha and paste: no image is mixed while mix_share is 0"),
    ({"blur_share": 0.5, "blur_sigma": 0.0}, "blur_share asks for blur, but blur_sigma is 0"),
    ({"downscale_share": 0.5, "downscale_min": 1.0}, "downscale_min 1.0 keeps them all"),
    ({"policy": "randaugment", "policy_magnitude": 0}, "next to nothing at policy_magnitude 0"),
]


@pytest.mark.parametrize(("changes", "said"), HALF_SAID)
def test_an_augmentation_that_is_asked_for_and_cannot_happen_is_refused(
    changes: dict[str, object], said: str
) -> None:
    values = read_params()
    values["train"]["augment"] |= changes
    _, (fault,) = parse_section(train.Params, "train", values)
    assert said in fault


@pytest.mark.parametrize(
    "changes",
    [
        {"blur_share": 0.5},
        {"downscale_share": 0.5},
        {"jpeg_share": 0.5},
        {"erase_share": 0.5},
        {"cutout": 0.5},
        {"policy": "randaugment"},
        {"mix_share": 0.5, "paste": True},
    ],
)
def test_one_key_turns_an_augmentation_on_where_its_size_is_shipped(changes: dict[str, object]) -> None:
    values = read_params()
    values["train"]["augment"] |= changes
    assert parse_section(train.Params, "train", values)[1] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"fine_tune": {"frozen_layers": 1}},
        {"fine_tune": {"layer_decay": 0.7}},
        {"fine_tune": {"hold_statistics": True}},
        {"body_rate": 0.0},
    ],
)
@pytest.mark.parametrize("view", [train.Params, preflight.TrainView])
def test_nothing_of_a_random_body_is_kept_more_than_the_rest(
    changes: dict[str, object], view: type[Section]
) -> None:
    values = read_params()
    values["train"]["fine_tune"] |= changes.get("fine_tune", {})
    values["train"] |= {key: value for key, value in changes.items() if key != "fine_tune"}
    asked = {"train": {key: values["train"][key] for key in view.model_fields}}
    assert parse_section(view, "train", asked)[1] == []
    asked["train"]["init"] = "random"
    _, (fault,) = parse_section(view, "train", asked)
    assert "init: random leaves nothing worth keeping" in fault


def test_blocks_are_skipped_only_where_there_is_a_way_around_them() -> None:
    values = read_params()
    values["train"] |= {"network": "whitened", "init": "random", "drop_path": 0.0}
    assert parse_section(train.Params, "train", values)[1] == []
    values["train"]["drop_path"] = 0.2
    _, (fault,) = parse_section(train.Params, "train", values)
    assert "network: whitened has none" in fault


def test_a_mistyped_augmentation_is_told_its_nearest_key() -> None:
    values = read_params()
    values["train"]["augment"]["mix_up_alpha"] = 0.2
    _, faults = parse_section(train.Params, "train", values)
    assert faults == ["  train.augment.mix_up_alpha: unknown key; did you mean 'mixup_alpha'?"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"largest_batch": 64}, "largest_batch 64 must be more than batch_size 64"),
        ({"kind": "constant"}, "a curve that only falls; kind constant does not"),
        ({"kind": "cyclical"}, "a curve that only falls; kind cyclical does not"),
    ],
    ids=str,
)
def test_batches_that_could_not_grow_are_refused(change: dict[str, object], says: str) -> None:
    values = read_params()
    values["train"]["schedule"] |= {"grow_batch": True}
    assert parse_section(train.Params, "train", values)[1] == []
    values["train"]["schedule"] |= change
    _, (fault,) = parse_section(train.Params, "train", values)
    assert says in fault


@pytest.mark.parametrize(
    ("kind", "low", "refused"),
    [("one_cycle", 0.95, True), ("one_cycle", 0.9, False), ("cosine", 0.95, False)],
)
def test_one_cycles_momentum_goes_down_and_not_up(kind: str, low: float, refused: bool) -> None:
    values = read_params()
    values["train"]["schedule"] |= {"kind": kind, "momentum_low": low}
    told = "  train.schedule.momentum_low 0.95 is above optimizer.momentum 0.9: one_cycle goes down to it"
    faults = parse_section(train.Params, "train", values)[1]
    assert [fault.startswith(told) for fault in faults] == [True] * refused


@pytest.mark.parametrize(("kind", "refused"), [("adamw", True), ("sgd", True), ("muon", False)])
def test_norms_are_held_by_muon_alone(kind: str, refused: bool) -> None:
    values = read_params()
    values["train"]["optimizer"] |= {"kind": kind, "hold_norm": True}
    faults = parse_section(train.Params, "train", values)[1]
    told = f"  train.optimizer.hold_norm is about muon's matrices; kind is {kind}: set it to false"
    assert [fault.startswith(told) for fault in faults] == [True] * refused


@pytest.mark.parametrize(("flip", "refused"), [(True, False), ("alternate", False), ("alternating", True)])
def test_a_wrong_flip_is_one_fault_with_the_near_word(flip: bool | str, refused: bool) -> None:
    values = read_params()
    values["train"]["augment"] |= {"flip": flip}
    faults = parse_section(train.Params, "train", values)[1]
    assert [("train.augment.flip: " in fault, "did you mean 'alternate'?" in fault) for fault in faults] == [
        (True, True)
    ] * refused
