"""The best of many draws flatters itself, and the figures say by how much."""

from pathlib import Path

import numpy as np
import pytest

from stages.lib.artifacts import read_csv
from stages.lib.tune_results import Trained, best, facts_of, lead, packed, trained, unpacked, write_trials
from stages.lib.tune_words import experiment_line, verdict


def trial(index: int, scores: np.ndarray | None, reason: str = "") -> Trained:
    value = None if scores is None else float(scores.mean())
    return Trained(index, value, scores, {"train.dropout": index / 10}, 3, reason)


def alike(n_trials: int, n: int, accuracy: float, rng: np.random.Generator) -> list[Trained]:
    """Trials that are equally good: what sets them apart is luck."""
    return [trial(at, (rng.random((n, 1)) < accuracy).astype(np.float32)) for at in range(n_trials)]


def test_among_equals_the_winner_is_seldom_called_better_and_its_lead_is_taken_back() -> None:
    rng = np.random.default_rng(0)
    plain, chosen, expected, shown = [], [], [], 0
    for repeat in range(60):
        trials = alike(20, 200, 0.9, rng)
        found = lead(trials, np.arange(200), upwards=True, seed=repeat)
        if found is None:
            continue
        plain.append(found.difference)
        chosen.append(found.chosen)
        expected.append(found.expected)
        shown += found.shown
    assert np.mean(plain) > 0.03
    assert abs(np.mean(chosen)) < 0.015
    assert np.mean(expected) == pytest.approx(0.9, abs=0.01)
    assert shown <= 3


@pytest.mark.parametrize("upwards", [True, False])
def test_a_trial_that_is_better_is_called_so(upwards: bool) -> None:
    rng = np.random.default_rng(1)
    trials = alike(10, 400, 0.8 if upwards else 0.3, rng)
    better = rng.random((400, 2)) < (0.95 if upwards else 0.1)
    trials.append(trial(10, better.astype(np.float32)))
    found = lead(trials, np.arange(400), upwards, seed=0)
    assert found is not None
    assert found.shown
    assert found.interval[0] > 0
    assert 0.1 < found.chosen < 0.3
    first = trials[0].value
    assert first is not None
    assert found.difference == pytest.approx(abs(float(better.mean()) - first))


def test_whole_groups_are_drawn_so_that_copies_are_no_evidence() -> None:
    rng = np.random.default_rng(2)
    few = alike(2, 30, 0.5, rng)
    copied = [trial(at.index, np.repeat(at.scores, 20, axis=0)) for at in few if at.scores is not None]
    if best(few, True) is few[0]:
        few, copied = ([trial(1 - at.index, at.scores) for at in reversed(part)] for part in (few, copied))
    one = lead(few, np.arange(30), True, seed=0)
    many = lead(copied, np.repeat(np.arange(30), 20), True, seed=0)
    assert one is not None
    assert many is not None
    assert many.chosen_interval == pytest.approx(one.chosen_interval)


def test_of_equals_the_params_as_they_stand_win_and_what_ended_early_never_does() -> None:
    scores = np.ones((5, 1), np.float32)
    trials = [trial(0, scores), trial(1, scores), trial(2, None, "pruned"), trial(3, None, "diverged: nan")]
    assert best(trials, upwards=True) is trials[0]
    assert lead(trials, np.arange(5), True, seed=0) is None
    assert "keep them" in verdict(trials, trials[0], None, "val_loss")[0]
    assert best(trials[2:], upwards=True) is None
    assert "No trial was complete" in verdict(trials[2:], None, None, "val_loss")[0]


def test_without_a_first_trial_there_is_nothing_to_be_ahead_of() -> None:
    trials = [trial(0, None, "diverged: nan"), trial(1, np.ones((5, 1), np.float32))]
    assert lead(trials, np.arange(5), True, seed=0) is None
    assert "nothing" not in verdict(trials, trials[1], None, "val_loss")[0]
    assert "no result to hold it against" in verdict(trials, trials[1], None, "val_loss")[0]


def test_one_group_of_images_says_nothing_of_luck() -> None:
    trials = [trial(0, np.zeros((5, 1), np.float32)), trial(1, np.ones((5, 1), np.float32))]
    found = lead(trials, np.zeros(5, np.int64), True, seed=0)
    assert found is None
    assert "one group" in verdict(trials, trials[1], found, "val_top1_accuracy")[0]


def test_scores_survive_the_storage() -> None:
    scores = np.random.default_rng(0).random((7, 3)).astype(np.float32)
    assert np.array_equal(unpacked(packed(scores), 3), scores)
    kept = trained(4, 0.5, facts_of({"train.dropout": 0.1}, scores, 3, ""))
    assert kept.scores is not None
    assert np.array_equal(kept.scores, scores)
    assert (kept.index, kept.value, kept.epochs, kept.state) == (4, 0.5, 3, "complete")


def test_the_table_has_a_row_a_trial_with_its_reason(tmp_path: Path) -> None:
    trials = [trial(0, np.ones((2, 1), np.float32)), trial(1, None, "diverged: the loss, at step 3")]
    write_trials(tmp_path / "trials.csv", trials, ["train.dropout"])
    rows = read_csv(tmp_path / "trials.csv")
    assert [(row["trial"], row["state"], row["value"]) for row in rows] == [
        ("0", "complete", "1.0"),
        ("1", "diverged", ""),
    ]
    assert rows[1]["reason"] == "diverged: the loss, at step 3"


def test_the_line_for_dvc_is_what_dvc_reads(tmp_path: Path) -> None:
    import shlex

    from dvc.utils.hydra import apply_overrides

    from stages.lib.yaml_file import read_yaml

    (tmp_path / "params.yaml").write_text(
        "train:\n  learning_rate: 1.0\n  flag: false\n  kind: a\n  area: [0.0, 1.0]\n  file: ''\n"
    )
    patch = {
        "train.learning_rate": 1.234e-05,
        "train.flag": True,
        "train.kind": "timm:resnet18.a1_in1k",
        "train.area": [0.02, 0.5],
        "train.file": "a b, (c).pth",
    }
    words = shlex.split(experiment_line(patch))
    assert words[:3] == ["dvc", "exp", "run"]
    apply_overrides(tmp_path / "params.yaml", words[4::2])
    found = read_yaml(tmp_path / "params.yaml")["train"]
    assert {f"train.{key}": value for key, value in found.items()} == patch
