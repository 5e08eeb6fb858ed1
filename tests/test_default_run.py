"""The default run, whole: digits in two clones. Slow; `make test-slow` runs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.lib.artifacts import read_json
from stages.lib.chain import STAGES
from stages.lib.config import read_params
from tests.chain import Chain

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    chain = Chain.clone(tmp_path_factory.mktemp("digits") / "clone")
    (chain.root / "dvc.lock").unlink(missing_ok=True)
    seeds = read_params(chain.root / "params.yaml")["train"]["seeds"]
    assert len(chain.repro()) == len(STAGES) - 1 + len(seeds)
    return chain


def test_two_clones_of_the_default_run_hold_the_same_lock_file(digits: Chain, tmp_path: Path) -> None:
    other = Chain.clone(tmp_path / "another" / "place")
    (other.root / "dvc.lock").unlink(missing_ok=True)
    other.repro()
    assert (other.root / "dvc.lock").read_bytes() == (digits.root / "dvc.lock").read_bytes()


def test_every_input_independent_baseline_is_no_better_than_the_prior(digits: Chain) -> None:
    test = read_json(digits.root / "data/evaluate/metrics.json")["test"]
    for name in ("dummy", "dummy_most_frequent", "dummy_zeros", "dummy_noise"):
        low, high = test[name]["top1_accuracy_ci"]
        assert low <= 0.10 <= high, name


def test_each_step_of_the_ladder_is_shown_to_be_a_gain(digits: Chain) -> None:
    comparisons = read_json(digits.root / "data/evaluate/metrics.json")["comparisons"]
    assert comparisons["ensemble_minus_dummy"]["ci"][0] > 0.8
    assert comparisons["ensemble_minus_linear"]["difference"] > 0


def test_the_student_is_small_and_close(digits: Chain) -> None:
    told = read_json(digits.root / "data/distill/metrics.json")
    assert told["parameter_ratio"] <= 0.25
    assert read_json(digits.root / "data/evaluate/metrics.json")["test"]["student"]["top1_accuracy"] > 0.97
