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
    ("train.padding", "wrap"),
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
    section, name = key.split(".")
    values = read_params()
    values[section][name] = yaml.safe_load(value)
    parsed, faults = parse_section(SECTIONS[section], section, values)
    assert parsed is None
    assert any(fault.strip().startswith(key) for fault in faults)
