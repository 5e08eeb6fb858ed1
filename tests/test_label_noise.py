"""Label quality: planted errors come first, impossible input is refused, and rare classes are not blamed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from planting import plant
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from stages import embed, label_noise
from stages.label_noise import cross_validate, judge
from stages.lib import linear_fold
from stages.lib.artifacts import read_csv, read_json, read_npy, read_table, write_table
from stages.lib.config import load_section
from stages.lib.errors import InputError
from stages.lib.label_roles import with_neutral_labels
from stages.lib.label_scores import among, check_pred_probs, filled_by_votes, odds, score_labels
from stages.lib.labelled import GIVEN, Labelled, voters
from stages.lib.linear_fold import predict_fold
from stages.lib.noise_rate import by_confidence
from stages.lib.picture_identity import same_picture
from tests.embedded_data import EMBED, write_embedded

PARAMS = load_section(label_noise.Params, "label_noise")
OUTS = (
    "scores.parquet", "pred_probs.npy", "classes.json",
    "consensus.parquet", "annotators.csv", "noise_matrix.csv",
)  # fmt: skip
WORKERS = {"ann": 0.9, "bob": 0.75, "=cmd": 0.5}


@pytest.mark.parametrize("seed", [100, 101, 102])
def test_planted_errors_are_ranked_first(digits: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    planted = plant(*digits, seed=seed)
    vectors, pictures = embed.embed_all(planted.pixels, EMBED), same_picture(planted.pixels)
    probs, assessable, done = cross_validate(vectors, planted.labels, pictures, 10, PARAMS)
    scores = score_labels(planted.labels, probs, assessable, PARAMS)
    assert average_precision_score(planted.flipped, 1 - scores.label_quality) >= 0.90
    assert planted.flipped[scores.is_label_issue].mean() > 0.8
    assert scores.is_label_issue[planted.flipped].mean() > 0.6
    noise = by_confidence(*among(planted.labels, probs, assessable), np.random.default_rng(0))
    assert noise.rate == pytest.approx(0.05, abs=0.015)
    assert noise.interval[0] <= noise.rate <= noise.interval[1]
    assert done == {"folds": 5, "n_folds_not_converged": 0}


def test_the_true_class_is_suggested_for_planted_errors(digits: tuple[np.ndarray, np.ndarray]) -> None:
    planted = plant(*digits, seed=5, share=0)
    vectors, pictures = embed.embed_all(planted.pixels, EMBED), same_picture(planted.pixels)
    probs, assessable, _ = cross_validate(vectors, planted.labels, pictures, 10, PARAMS)
    scores = score_labels(planted.labels, probs, assessable, PARAMS)
    assert (scores.suggested == digits[1])[planted.flipped].mean() > 0.9


def faulty(row: list[float]) -> np.ndarray:
    return np.array([[0.5, 0.5], row, [1.0, 0.0]], np.float32)


@pytest.mark.parametrize(
    "row",
    [[np.nan, 0.5], [np.nan, np.nan], [np.inf, 0], [0.2, 0.2], [2.0, 1.0], [-0.5, 1.5], [0.0, 0.0]],
)
def test_l12_probabilities_that_are_none_are_refused_by_row(row: list[float]) -> None:
    with pytest.raises(InputError, match=r"1 rows are no probability distribution, the first is row 1"):
        check_pred_probs(np.array([0, 1, 0]), faulty(row))


def test_l12_the_scores_refuse_them_too() -> None:
    with pytest.raises(InputError, match="no probability distribution"):
        score_labels(np.array([0, 1, 0]), faulty([np.nan, 1]), np.array([True, True]), PARAMS)


@pytest.mark.parametrize("shape", [(2, 2), (3,), (4, 2)])
def test_probabilities_for_other_samples_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="expected shape"):
        check_pred_probs(np.array([0, 1, 0]), np.full(shape, 0.5, np.float32))


@pytest.mark.parametrize("labels", [[0, 2], [-1, 0]])
def test_labels_without_a_column_are_refused(labels: list[int]) -> None:
    with pytest.raises(InputError, match="columns of pred_probs"):
        check_pred_probs(np.array(labels), np.full((2, 2), 0.5, np.float32))


def blobs(counts: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Well separated classes of the given sizes: features (n, 6), labels (n,)."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = 4 * np.eye(6)[: len(counts)]
    return (centres[labels] + generator.normal(0, 0.5, (len(labels), 6))).astype(np.float32), labels


def test_a_class_with_fewer_pictures_than_folds_is_not_blamed() -> None:
    features, labels = blobs([40, 40, 4, 1])
    probs, assessable, _ = cross_validate(features, labels, np.arange(85), 4, PARAMS)
    scores = score_labels(labels, probs, assessable, PARAMS)
    assert assessable.tolist() == [True, True, False, False]
    assert (scores.label_quality[labels >= 2] == 1).all()
    assert not scores.is_label_issue[labels >= 2].any()
    assert (scores.suggested[labels >= 2] == labels[labels >= 2]).all()
    assert (scores.label_quality[labels < 2] < 1).any()


def test_one_picture_under_two_names_is_nobodys_evidence() -> None:
    features, labels = np.ones((4, 6), np.float32), np.array([0, 1, 1, 1])
    probs, assessable, done = cross_validate(features, labels, np.zeros(4, np.int64), 2, PARAMS)
    assert done["folds"] == 1
    assert not assessable.any()
    assert not score_labels(labels, probs, assessable, PARAMS).is_label_issue.any()


def test_many_copies_of_one_picture_do_not_make_a_class_assessable() -> None:
    features, labels = blobs([40, 40, 20])
    pictures = np.where(labels == 2, 999, np.arange(100))
    _, assessable, _ = cross_validate(features, labels, pictures, 3, PARAMS)
    assert assessable.tolist() == [True, True, False]


@pytest.mark.parametrize("counts", [[1], [30], [1, 1], [2, 1], [1, 1, 1, 1]])
def test_sets_too_small_to_judge_give_no_verdict(counts: list[int]) -> None:
    features, labels = blobs(counts)
    probs, assessable, done = cross_validate(features, labels, np.arange(len(labels)), len(counts), PARAMS)
    scores = score_labels(labels, probs, assessable, PARAMS)
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
    assert done["folds"] == min(5, len(labels))
    assert not scores.is_label_issue.any()
    if len(counts) < 2 or max(counts) < 5:
        assert (scores.label_quality == 1).all()


def test_a_copy_in_training_does_not_vouch_for_its_own_wrong_label() -> None:
    features, labels = blobs([50, 50])
    wrong = labels.copy()
    features = np.concatenate([features, features[:5]])
    wrong = np.concatenate([wrong, wrong[:5]])
    wrong[[0, 100]] = 1  # a picture and its copy, both labelled wrong
    pictures = np.concatenate([np.arange(100), np.arange(5)])
    probs, assessable, _ = cross_validate(features, wrong, pictures, 2, PARAMS)
    scores = score_labels(wrong, probs, assessable, PARAMS)
    assert scores.label_quality[[0, 100]].max() < 0.2


def test_the_model_is_scikit_learns_logistic_regression_on_standardised_features() -> None:
    features, labels = blobs([30, 30, 30])
    mean, spread = features.mean(0), features.std(0)
    model = LogisticRegression(C=1 / (0.1 * 90), max_iter=1000).fit((features - mean) / spread, labels)
    ours, converged = predict_fold(features, np.eye(3)[labels], features, 0.1)
    assert converged
    np.testing.assert_allclose(ours, model.predict_proba((features - mean) / spread), atol=1e-4)


def test_a_fold_that_did_not_converge_is_counted_not_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_fold, "MAX_ITERATIONS", 1)
    features, labels = blobs([30, 30])
    _, _, done = cross_validate(features, labels, np.arange(60), 2, PARAMS)
    assert done["n_folds_not_converged"] == 5


def test_constant_features_are_harmless() -> None:
    features, labels = blobs([30, 30])
    features[:, 3] = 0.25
    probs, _, _ = cross_validate(features, labels, np.arange(60), 2, PARAMS)
    assert np.isfinite(probs).all()


def test_the_stage_scores_labelled_samples_only_and_writes_the_same_bytes_again(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    labels: list[str | None] = [str(label) for label in digits[1][:300]]
    labels[3] = labels[200] = None
    labels[7] = "<b>one of a kind</b>"
    write_embedded(tmp_path, digits[0][:300], labels)
    metrics = label_noise.run(PARAMS, ingest=tmp_path, embed=tmp_path, out=tmp_path / "a")
    label_noise.run(PARAMS, ingest=tmp_path, embed=tmp_path, out=tmp_path / "b")
    scores = read_table(tmp_path / "a/scores.parquet")
    known = [f"s{i:04}" for i in range(300) if labels[i] is not None]
    classes = read_json(tmp_path / "a/classes.json")
    assert scores.column_names == [
        "sample_id", "given_label", "suggested_label", "label_quality", "is_label_issue",
    ]  # fmt: skip
    assert scores["sample_id"].to_pylist() == known
    assert classes == sorted({label for label in labels if label is not None})
    assert read_npy(tmp_path / "a/pred_probs.npy").shape == (298, 11)
    assert metrics["n_labelled"] == 298
    assert metrics["n_not_assessed"] == 1
    assert metrics["classes_not_assessed"] == ["<b>one of a kind</b>"]
    assert (
        len(read_table(tmp_path / "a/consensus.parquet")) == len(read_csv(tmp_path / "a/annotators.csv")) == 0
    )
    for name in OUTS:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_label_that_says_not_sure_is_no_class(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    labels: list[str | None] = [str(label) for label in digits[1][:100]]
    labels[3] = labels[50] = "Not sure"
    write_embedded(tmp_path, digits[0][:100], labels)
    manifest = read_table(tmp_path / "manifest.parquet")
    write_table(tmp_path / "manifest.parquet", with_neutral_labels(manifest, ["Not sure"]))
    metrics = label_noise.run(PARAMS, ingest=tmp_path, embed=tmp_path, out=tmp_path / "out")
    assert metrics["n_labelled"] == 98
    assert "Not sure" not in read_json(tmp_path / "out/classes.json")


def test_without_a_single_label_the_stage_says_so(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    write_embedded(tmp_path, digits[0][:5], [None] * 5)
    metrics = label_noise.run(PARAMS, ingest=tmp_path, embed=tmp_path, out=tmp_path / "out")
    assert metrics["n_labelled"] == metrics["n_label_issues"] == 0
    assert len(read_table(tmp_path / "out/scores.parquet")) == 0


def crowd(labels: np.ndarray, truth: np.ndarray, votes: np.ndarray, features: np.ndarray) -> Labelled:
    n = len(labels)
    ids, names = [f"s{i}" for i in range(n)], [f"a{j}" for j in range(votes.shape[1])]
    return Labelled(
        ids, [str(k) for k in range(truth.max() + 1)], labels, names, votes, features, np.arange(n)
    )


def said(truth: np.ndarray, right: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(truth)) < right, truth, rng.integers(0, truth.max() + 1, len(truth)))


def test_annotators_and_model_together_find_what_neither_finds_alone() -> None:
    features, truth = blobs([120, 120, 120])
    features += np.random.default_rng(5).normal(0, 2.0, features.shape)
    votes = np.stack(
        [said(truth, right, 10 + right_seed) for right_seed, right in enumerate((0.8, 0.7, 0.4))], 1
    )
    together = judge(crowd(votes[:, 0], truth, votes, features), PARAMS)
    alone = judge(crowd(votes[:, 0], truth, votes[:, :0], features), PARAMS)
    wrong = votes[:, 0] != truth
    precision = [average_precision_score(wrong, 1 - j.scores.label_quality) for j in (together, alone)]
    assert precision[0] > precision[1] + 0.05
    assert together.names == ["a0", "a1", "a2"]
    assert together.consensus is not None
    assert alone.consensus is None
    accuracy = (together.scores.suggested == truth).mean()
    assert accuracy > max(
        (together.pred_probs.argmax(1) == truth).mean(), (votes == truth[:, None]).mean(0).max()
    )
    assert together.noise.interval[0] <= wrong.mean() <= together.noise.interval[1]


def test_a_label_of_its_own_is_one_more_opinion_and_a_derived_one_is_not() -> None:
    truth = blobs([20, 20])[1]
    votes = np.stack([said(truth, 0.5, 1), said(truth, 0.5, 2)], axis=1)
    features = blobs([20, 20])[0]
    assert voters(crowd(votes[:, 1], truth, votes, features))[0] == ["a0", "a1"]
    names, joined = voters(crowd(truth, truth, votes, features))
    assert names == ["a0", "a1", GIVEN]
    np.testing.assert_array_equal(joined[:, 2], truth)


def test_where_nobody_voted_the_given_label_stands_alone() -> None:
    truth = blobs([20, 20])[1]
    votes = np.stack([truth, truth], axis=1)
    votes[:3] = -1
    names, joined = voters(crowd(truth, truth, votes, blobs([20, 20])[0]))
    assert names[-1] == GIVEN
    np.testing.assert_array_equal(np.flatnonzero(joined[:, 2] >= 0), [0, 1, 2])


def test_votes_speak_for_classes_that_the_model_cannot_judge() -> None:
    probs = np.array([[0.6, 0.3, 0.1], [0.5, 0.5, 0.0]])
    shares = np.array([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    filled = filled_by_votes(probs, shares, np.array([True, True, False]))
    np.testing.assert_allclose(filled, [[1 / 3, 1 / 6, 0.5], [0.5, 0.5, 0]], atol=1e-6)


def test_a_rare_class_that_all_annotators_name_is_not_voted_away_by_the_model() -> None:
    features, truth = blobs([60, 60, 3])
    votes = np.stack([truth, truth, truth], axis=1)
    found = judge(crowd(truth, truth, votes, features), PARAMS)
    assert found.assessable.tolist() == [True, True, False]
    assert (found.scores.suggested[truth == 2] == 2).all()
    assert not found.scores.is_label_issue[truth == 2].any()


def test_odds_are_the_given_labels_share_against_the_best_other() -> None:
    probs = np.array([[0.2, 0.2, 0.6], [0.5, 0.25, 0.25]])
    np.testing.assert_allclose(odds(np.array([0, 0]), probs), [0.25, 2 / 3])


def test_the_network_judges_pixels_out_of_sample(digits: tuple[np.ndarray, np.ndarray]) -> None:
    planted = plant(*digits, seed=3, share=0)
    changes = {"model": "network", "widths": (16, 32), "epochs": 8, "mirror": False, "folds": 2}
    params = PARAMS.model_copy(update=changes | {"precision": "float32"})
    pictures = same_picture(planted.pixels)
    probs, assessable, done = cross_validate(planted.pixels, planted.labels, pictures, 10, params)
    scores = score_labels(planted.labels, probs, assessable, params)
    assert done == {"folds": 2, "n_folds_not_converged": 0}
    assert average_precision_score(planted.flipped, 1 - scores.label_quality) > 0.85


def test_the_stage_writes_what_annotators_are_worth(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    truth = digits[1][:300]
    votes = {
        f"annotator_{name}": said(truth, right, seed) for seed, (name, right) in enumerate(WORKERS.items())
    }
    write_embedded(
        tmp_path, digits[0][:300], [None if i == 4 else str(c) for i, c in enumerate(votes["annotator_ann"])]
    )
    manifest = read_table(tmp_path / "manifest.parquet")
    for column, said_by in votes.items():
        texts = [None if i % 7 == 0 and column == "annotator_bob" else f"{c}" for i, c in enumerate(said_by)]
        manifest = manifest.append_column(column, pa.array(texts, pa.string()))
    write_table(tmp_path / "manifest.parquet", manifest)
    metrics = label_noise.run(PARAMS, ingest=tmp_path, embed=tmp_path, out=tmp_path / "a")
    label_noise.run(PARAMS, ingest=tmp_path, embed=tmp_path, out=tmp_path / "b")
    rows = read_csv(tmp_path / "a/annotators.csv")
    assert [row["annotator"] for row in rows] == ["=cmd", "bob", "ann"]
    assert [row["annotator"] for row in metrics["worst_annotators"]] == ["=cmd", "bob", "ann"]
    for row in rows:
        assert float(row["accuracy"]) == pytest.approx(WORKERS[row["annotator"]] * 0.9 + 0.1, abs=0.09)
    consensus = read_table(tmp_path / "a/consensus.parquet").to_pydict()
    assert consensus["sample_id"] == [f"s{i:04}" for i in range(300)]  # s0004 has votes, though no label
    assert (np.array(consensus["consensus_label"]) == truth.astype(str)).mean() > 0.95
    scored = read_table(tmp_path / "a/scores.parquet")["sample_id"].to_pylist()
    assert scored == [f"s{i:04}" for i in range(300) if i != 4]
    assert len(read_npy(tmp_path / "a/pred_probs.npy")) == metrics["n_labelled"] == 299
    assert set(consensus["n_votes"]) == {2, 3}
    assert read_csv(tmp_path / "a/noise_matrix.csv")
    for name in OUTS:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_ties_get_a_consensus_though_they_have_no_label(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """All labels are ties: none is scored, nothing is said of noise, and every sample has its consensus."""
    truth = digits[1][:100]
    write_embedded(tmp_path, digits[0][:100], [None] * 100)
    manifest = read_table(tmp_path / "manifest.parquet")
    for name, shift in (("annotator_a", 0), ("annotator_b", 1)):
        texts = [str((label + shift) % 10) for label in truth]
        manifest = manifest.append_column(name, pa.array(texts, pa.string()))
    write_table(tmp_path / "manifest.parquet", manifest)
    metrics = label_noise.run(PARAMS, ingest=tmp_path, embed=tmp_path, out=tmp_path / "out")
    assert metrics["n_labelled"] == metrics["n_label_issues"] == 0
    assert metrics["estimated_noise_rate_ci"] == [0.0, 1.0]
    consensus = read_table(tmp_path / "out/consensus.parquet").to_pydict()
    assert len(consensus["sample_id"]) == 100
    assert set(consensus["agreement"]) == {0.5}
