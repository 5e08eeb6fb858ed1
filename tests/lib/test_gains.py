import numpy as np
import pytest

from stages.lib.comparisons import compare, planned_pairs
from stages.lib.gains import Costs, gains
from stages.lib.ingredients import compared, described
from stages.lib.scores import Scoring
from stages.lib.truth import Entry, Truth

HOW = Scoring(confidence=0.95, draws=500, seed=0, ece_bins=10, top_k=2)


def world(accuracies: dict[str, float], n: int = 2000) -> tuple[Truth, dict[str, Entry]]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    truth = Truth(tuple(map(str, range(n))), np.array(["test"] * n), labels, np.arange(n), ("a", "b", "c"))
    entries = {}
    for name, accuracy in accuracies.items():
        said = np.where(rng.random(n) < accuracy, labels, (labels + 1) % 3)
        entries[name] = Entry(name, np.arange(n), np.eye(3, dtype=np.float32)[said])
    return truth, entries


def told(accuracies: dict[str, float]) -> dict[str, dict]:
    truth, entries = world(accuracies)
    comparisons = compare(truth, entries, planned_pairs(list(entries)), HOW)
    return gains(truth, entries, comparisons, Costs(3, 5, 0.2), 0.95)


def test_a_real_gain_is_shown_and_one_whose_interval_holds_zero_is_none() -> None:
    seeds = {f"seed{k}": 0.85 for k in range(3)}
    found = told(seeds | {"ensemble": 0.93, "ensemble_tta": 0.93, "student": 0.80})
    assert found["ensemble"]["shown"] == pytest.approx(0.08, abs=0.02)
    assert found["distillation"]["shown"] < -0.1
    low, high = found["tta"]["ci"]
    assert low <= 0 <= high
    assert found["tta"]["shown"] == 0.0
    assert found["ensemble"]["cost"].startswith("3 times")
    assert "0.20 of one network" in found["distillation"]["cost"]


def test_pretraining_is_told_by_networks_trained_without_it_and_only_by_two_or_more() -> None:
    seeds = {f"seed{k}": 0.9 for k in range(3)}
    without = {f"without_pretraining_seed{k}": 0.8 for k in range(3)}
    found = told(seeds | without | {"without_augmentation_seed0": 0.5})
    assert found["pretraining"]["shown"] == pytest.approx(0.1, abs=0.02)
    assert "augmentation" not in found


def test_an_added_ingredient_is_told_against_what_it_was_added_to() -> None:
    seeds = {f"seed{k}": 0.7 for k in range(3)}
    first = {f"with_label_smoothing_seed{k}": 0.8 for k in range(3)}
    second = {f"with_mixup_onto_label_smoothing_seed{k}": 0.9 for k in range(3)}
    alone = {f"with_blur_onto_nothing_known_seed{k}": 0.9 for k in range(3)}
    found = told(seeds | first | second | alone)
    assert found["label_smoothing"]["shown"] == pytest.approx(0.1, abs=0.02)
    assert found["mixup"]["shown"] == pytest.approx(0.1, abs=0.02)
    assert "blur" not in found


def test_networks_are_found_by_their_predictions_names_and_ordered_by_seed() -> None:
    names = ["without_b_seed10", "without_b_seed2", "without_a_seed0", "seed0", "without_c", "with_d_2_seed1"]
    assert compared(names, ["seed0"]) == {
        "a": (["seed0"], ["without_a_seed0"]),
        "b": (["seed0"], ["without_b_seed2", "without_b_seed10"]),
        "d_2": (["with_d_2_seed1"], ["seed0"]),
    }
    assert described("with_mixup_onto_label_smoothing_seed1") == (
        "one network, trained from seed 1 with mixup, added to label smoothing"
    )
    assert described("without_pretraining_seed0") == "one network, trained from seed 0 without pretraining"
    assert described("seed0") == ""
