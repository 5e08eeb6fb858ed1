"""Claims follow from scored samples alone, and say what those say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.lib.claims import UNSEEN, Scored, Settings, make_claims, read_scored, write_scored
from stages.lib.errors import InputError

CLASSES = ("a", "b", "c")
SETTINGS = Settings(confidence=0.95, bootstrap_draws=500, seed=0, ece_bins=15, max_answered_error=0.1)


def scored(n: int = 300, seed: int = 0) -> Scored:
    """Invent n samples, two thirds of them test, a model right four times in five, and another at chance."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    said = np.where(rng.random(n) < 0.8, labels, (labels + 1) % 3)
    names = tuple(f"s{row}" for row in range(n))
    return Scored(
        sample_ids=names,
        sha256=tuple(f"{row:064x}" for row in range(n)),
        split=np.where(np.arange(n) % 3 == 0, "val", "test"),
        labels=labels,
        groups=np.arange(n) // 2,
        pred_probs=(0.01 + 0.97 * np.eye(3)[said]).astype(np.float32),
        others={"other": rng.integers(0, 3, n)},
    )


def test_figures_are_those_of_the_test_samples() -> None:
    made = scored()
    claims = make_claims(made, CLASSES, SETTINGS)
    test = made.part("test")
    right = made.pred_probs[test].argmax(1) == made.labels[test]
    assert claims["test"]["n"] == len(test)
    assert claims["test"]["top1_accuracy"] == right.mean()
    low, high = claims["test"]["top1_accuracy_ci"]
    assert low < right.mean() < high
    for position, name in enumerate(CLASSES):
        of_class = made.labels[test] == position
        assert claims["classes"][name] == {"n": of_class.sum(), "top1_accuracy": right[of_class].mean()}


def test_comparisons_are_paired_and_leave_out_what_the_other_did_not_see() -> None:
    made = scored()
    test = made.part("test")
    unseen = made.others["other"].copy()
    unseen[test[:50]] = UNSEEN
    made = replace(made, others={"other": unseen, "blind": np.full(len(unseen), UNSEEN)})
    claims = make_claims(made, CLASSES, SETTINGS)
    seen = test[50:]
    right = made.pred_probs[seen].argmax(1) == made.labels[seen]
    difference = right.mean() - (unseen[seen] == made.labels[seen]).mean()
    found = claims["comparisons"]["other"]
    assert (found["n"], found["difference"]) == (len(seen), pytest.approx(difference))
    assert found["ci"][0] < difference < found["ci"][1]
    assert "blind" not in claims["comparisons"]


def test_val_calibrates_and_test_alone_is_told() -> None:
    made = scored()
    val = made.part("val")
    changed = made.labels.copy()
    changed[val] = made.pred_probs[val].argmax(1)
    claims, other = (make_claims(replace(made, labels=x), CLASSES, SETTINGS) for x in (made.labels, changed))
    assert claims["test"] == other["test"]
    assert claims["calibrated"]["temperature"] != other["calibrated"]["temperature"]


def test_scored_samples_survive_their_file(tmp_path: Path) -> None:
    made = scored()
    write_scored(tmp_path / "scored.parquet", made)
    again = read_scored(tmp_path / "scored.parquet")
    assert make_claims(again, CLASSES, SETTINGS) == make_claims(made, CLASSES, SETTINGS)
    assert (again.sample_ids, again.sha256) == (made.sample_ids, made.sha256)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_missing_split_is_refused(split: str) -> None:
    with pytest.raises(InputError, match="needs val samples"):
        make_claims(replace(scored(), split=np.full(300, split)), CLASSES, SETTINGS)


def test_what_is_no_table_of_scored_samples_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scored.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(InputError, match="not a table of scored samples"):
        read_scored(tmp_path / "scored.parquet")
