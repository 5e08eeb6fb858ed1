"""Whatever training would refuse is refused before the first trial, by its key."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages import train
from stages.lib.config import read_params
from stages.lib.search_space import Drawn, patched, rounded
from stages.lib.tune_params import tune_faults

RAW = read_params()


def faults(space: dict[str, Any], **changes: Any) -> str:
    tune = RAW["tune"] | {"space": space} | changes
    return "\n".join(tune_faults({**RAW, "tune": tune}, train.Params))


def test_the_shipped_space_is_in_order() -> None:
    assert tune_faults(RAW, train.Params) == []


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({}, "nothing to search"),
        ({"train.learning_rat": {"low": 0.1, "high": 1.0}}, "did you mean 'train.learning_rate'"),
        ({"train.learning_rate": {"low": 1.0e-4, "high": 2.0}}, "2.0 is refused: train.learning_rate"),
        ({"train.learning_rate": {"low": 0.1, "high": 0.01}}, "low 0.1 must be below high 0.01"),
        ({"train.learning_rate": {"low": 0.1, "high": 0.5}}, "0.003, is not in 0.1 … 0.5"),
        ({"train.dropout": {"low": 0.0, "high": 0.5, "log": True}}, "no logarithm at low 0.0"),
        ({"train.dropout": {"low": 0.0}}, "expected {low"),
        ({"train.dropout": {"low": "1e-3", "high": 0.5}}, "as a number write 0.001"),
        ({"train.dropout": {"low": 0.0, "high": float("inf")}}, "finite number"),
        ({"train.dropout": {"choices": [0.0, {"a": 1}]}}, "a list of these"),
        ({"train.dropout": {"low": 0.0, "high": 0.5, "choices": [0.0]}}, "either choices"),
        ({"train.dropout": {"choices": [0.0]}}, "two or more"),
        ({"train.dropout": {"choices": [0.0, 1.5]}}, "1.5 is refused"),
        ({"train.dropout": {"choices": [0.1, 0.5]}}, "0.0, is no choice"),
        ({"train.dropout": {"low": 0.0, "high": 0.5, "step": 1}}, "step is for whole numbers"),
        ({"train.epochs": {"low": 10.0, "high": 40.0}}, "whole numbers: so must"),
        ({"train.batch_size": {"low": 10, "high": 128, "step": 16}}, "must meet high"),
        ({"train.augment": {"low": 0, "high": 1}}, "a group of keys"),
        ({"train.network": {"low": 0, "high": 1}}, "is no number: write its choices"),
        ({"train.augment.flip": {"low": 0, "high": 1}}, "is no number"),
        ({"train.seeds": {"choices": [[0], [1]]}}, "cannot be changed: a trial has its own seeds"),
        ({"train.widths": {"choices": [[24, 48, 96], [8]]}}, "cannot be searched where a trial starts from"),
        ({"train.widths": {"low": 8, "high": 16}}, "is no number: write its choices"),
        ({"embed.cells": {"low": 2, "high": 8}}, "no such key"),
        ({"train.schedule.kind": {"choices": ["cosine", "exponential"]}}, "kind exponential never reaches"),
    ],
)
def test_a_space_that_cannot_work_is_refused_by_its_key(space: dict[str, Any], told: str) -> None:
    assert told in faults(space)
    assert all(f"tune.space{'.' if space else ''}{key}" in faults(space) for key in space)


def test_keys_that_need_each_other_are_accepted_together() -> None:
    kind = {"train.schedule.kind": {"choices": ["cosine", "exponential"]}}
    assert not faults(kind | {"train.schedule.final": {"low": 0.0, "high": 0.1}})


def widths_faults(widths: list[Any], **space: Any) -> str:
    """Return what is wrong with searching the channels where nothing pretrained has to fit them."""
    searched = {"train.widths": {"choices": widths}} | {f"train.{key}": value for key, value in space.items()}
    raw = RAW | {"train": RAW["train"] | {"init": "random"}, "tune": RAW["tune"] | {"space": searched}}
    return "\n".join(tune_faults(raw, train.Params))


def test_channels_are_a_choice_among_lists_where_training_starts_at_random() -> None:
    own = RAW["train"]["widths"]
    assert not widths_faults([own, [32, 64, 128]])
    assert "is no choice" in widths_faults([[8, 16], [32, 64, 128]])
    assert "is refused" in widths_faults([own, []])
    assert "each once" in widths_faults([own, own])
    either = {"choices": ["random", "pretrain"]}
    assert "cannot be searched where a trial starts from" in widths_faults([own, [8]], init=either)


def test_two_lengths_of_a_trial_are_one_too_many() -> None:
    assert "tune.epochs says how long" in faults({"train.epochs": {"low": 10, "high": 40}}, epochs=5)


def test_a_password_in_a_file_that_is_committed_is_refused() -> None:
    space = RAW["tune"]["space"]
    assert "no password" in faults(space, storage="postgresql+pg8000://me:secret@host/db")
    assert "expected" in faults(space, storage="mysql://me@host/db")
    assert not faults(space, storage="postgresql+pg8000://me@host/db")


@given(st.floats(1.23444e-5, 7.65466e4))
@example(1.23444e-5)
@example(7.65466e4)
def test_a_rounded_number_stays_in_its_range_and_close(value: float) -> None:
    low, high = 1.23444e-5, 7.65466e4  # which would be rounded to less and to more
    found = rounded(value, Drawn(low=low, high=high, log=True))
    assert low <= found <= high
    assert found == pytest.approx(value, rel=5e-4)
    assert found in (low, high) or len(f"{found:e}".partition("e")[0].rstrip("0")) <= 5


def test_a_patch_changes_its_keys_alone() -> None:
    section = RAW["train"]
    changed = patched(section, {"train.schedule.final": 0.5})
    assert changed["schedule"] == section["schedule"] | {"final": 0.5}
    assert section["schedule"]["final"] == 0.0
    assert {key: value for key, value in changed.items() if key != "schedule"} == {
        key: value for key, value in section.items() if key != "schedule"
    }
