"""A made-up run: what every stage before `evaluate` leaves behind, with chosen names, at any size.

The figures are invented but fit together, so that `evaluate` and its report can be tested without training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.lib.artifacts import write_csv, write_json, write_npy, write_table
from stages.lib.image_store import encode_png, write_images
from stages.lib.leaks import write_leaks
from stages.lib.predictions import Predictions, write_predictions
from stages.lib.review_queue import QUEUE_COLUMNS
from stages.lib.robustness_table import write_answers

DIFFICULTY = {"seed0": 0.04, "seed1": 0.05, "ensemble": 0.03, "ensemble_tta": 0.04, "student": 0.05}
FOLDERS = ("ingest", "duplicates", "label_noise", "curate", "class_balance", "validate")
FOLDERS += ("split", "baseline", "preflight", "train", "distill", "ablate", "predict", "review")


@dataclass(frozen=True)
class MadeRun:
    """The folder of a made-up run and the truth in it, in manifest order."""

    root: Path
    sample_ids: tuple[str, ...]
    labels: np.ndarray
    split: np.ndarray
    classes: tuple[str, ...]

    def folders(self) -> dict[str, Path]:
        """Return what `evaluate.run` takes by keyword, but `out`."""
        return {name: self.root / name for name in FOLDERS}


def make_run(
    root: Path,
    classes: Sequence[str],
    pixels: np.ndarray,
    labels: np.ndarray,
    word: str = "plain",
    seed: int = 0,
    split: np.ndarray | None = None,
) -> MadeRun:
    """Write all folders below `root`; `word` stands wherever a user's or a stage's free text may stand.

    `split` (N,) text is drawn where it is not given.
    """
    rng = np.random.default_rng(seed)
    ids = tuple(f"s{row:05d}" for row in range(len(labels)))
    drawn = rng.choice(["train", "val", "test"], size=len(labels), p=[0.6, 0.2, 0.2])
    run = MadeRun(root, ids, labels, drawn if split is None else split, tuple(classes))
    _ingest(run, pixels, word)
    _findings(run, word)
    _curation(run, word)
    _predictions(run, rng, word)
    _training(run, word)
    return run


def small_run(root: Path, classes: Sequence[str] = ("cat", "dog", "owl"), word: str = "plain") -> MadeRun:
    """Write a run of 120 random 6 x 6 images."""
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, size=(120, 6, 6, 1), dtype=np.uint8)
    return make_run(root, classes, pixels, np.arange(120) % len(classes), word)


def _ingest(run: MadeRun, pixels: np.ndarray, word: str) -> None:
    images = zip(run.sample_ids, map(encode_png, pixels), strict=True)
    write_images(run.root / "ingest" / "images.parquet", images, pixels.shape[1], pixels.shape[3], "made")
    write_table(run.root / "ingest" / "manifest.parquet", _manifest(run, word))
    refused = [(f"{word}/broken-{row}.png", "truncated" if row else word, word, "00") for row in range(3)]
    write_csv(run.root / "ingest" / "quarantine.csv", ("file", "reason", "detail", "sha256"), refused)


def _manifest(run: MadeRun, word: str) -> pa.Table:
    return pa.table(
        {
            "sample_id": run.sample_ids,
            "label": _names(run),
            "source": [f"{word}/{sample_id}.png" for sample_id in run.sample_ids],
            "group": pa.array([None] * len(run.labels), pa.string()),
        }
    )


def _names(run: MadeRun) -> list[str]:
    return [run.classes[label] for label in run.labels]


def _findings(run: MadeRun, word: str) -> None:
    ids, names = run.sample_ids, _names(run)
    test = np.flatnonzero(run.split == "test")
    same = [(int(a), int(b)) for a, b in zip(test[0:12:2], test[1:12:2], strict=True)]
    groups = {
        "sample_id": [ids[row] for pair in same for row in pair],
        "group_id": [ids[pair[0]] for pair in same for _ in pair],
    }
    write_table(run.root / "duplicates" / "groups.parquet", pa.table(groups))
    header = ("sample_id_a", "sample_id_b", "score", "kind", "label_a", "label_b")
    pairs = [(ids[a], ids[b], 0.99, "near", names[a], names[b]) for a, b in same]
    write_csv(run.root / "duplicates" / "pairs.csv", header, pairs)
    write_csv(
        run.root / "duplicates" / "conflicts.csv", header, [row for row in pairs if row[4] != row[5]][:1]
    )
    doubted = np.zeros(len(ids), bool)
    doubted[np.concatenate([test[:2], np.arange(0, len(ids), 17)])] = True
    scores = {
        "sample_id": ids,
        "given_label": names,
        "suggested_label": [run.classes[(label + 1) % len(run.classes)] for label in run.labels],
        "label_quality": pa.array(np.where(doubted, 0.02, 0.98) + np.arange(len(ids)) / 1e6, pa.float32()),
        "is_label_issue": doubted,
    }
    write_table(run.root / "label_noise" / "scores.parquet", pa.table(scores))
    _label_figures(run, word)
    _picture_findings(run)
    expectations = [
        {
            "name": "labels_known",
            "severity": "critical",
            "passed": True,
            "observed": "0 unknown",
            "remedy": word,
        },
        {"name": word, "severity": "warning", "passed": False, "observed": word, "remedy": "Look at them."},
    ]
    for expectation in expectations:
        expectation["unexpected"] = []
    write_json(run.root / "validate" / "verdict.json", {"passed": True, "expectations": expectations})


def _label_figures(run: MadeRun, word: str) -> None:
    """Write a noise rate, confusions in both directions, and two annotators, the second without a word."""
    classes, folder = run.classes, run.root / "label_noise"
    figures = {
        "estimated_noise_rate": 0.0613,
        "estimated_noise_rate_ci": [0.041, 0.0824],
        "n_labelled": len(run.labels),
        "n_not_assessed": 3,
    }
    write_json(folder / "metrics.json", figures)
    cells = [
        (given, true, round(40 / (1 + at + to), 3), round(0.2 / (1 + at + to), 6))
        for at, given in enumerate(classes[:6])
        for to, true in enumerate(classes[:6])
        if given != true
    ]
    cells.sort(key=lambda cell: (-float(cell[2]), cell[:2]))
    write_csv(folder / "noise_matrix.csv", ("given_label", "true_label", "n", "share_of_given"), cells)
    header = ("annotator", "n", "accuracy", "accuracy_low", "accuracy_high", "agreement")
    rows = [(word, 1200, 0.81, 0.787, 0.831, 0.8), ("second", 1180, 0.93, 0.914, 0.943, 0.94)]
    write_csv(folder / "annotators.csv", header, rows)


def _picture_findings(run: MadeRun) -> None:
    ids, classes, folder = run.sample_ids, run.classes, run.root / "validate"
    found = [(ids[row], "blurry", 0.02 + row / 1000, 0.2, 0.1 + row / 200) for row in range(8)]
    found += [(ids[20], "dark", 0.12, 0.33, 0.36), (ids[21], "odd_aspect", 4.2, 2.5, 0.6)]
    write_csv(folder / "image_issues.csv", ("sample_id", "issue", "value", "bound", "score"), found)
    header = ("property", "class", "balanced_accuracy", "accuracy", "prior_accuracy", "p_value", "is_cue")
    cues = [
        ("border_red", classes[0], 0.93, 0.42, 0.34, 0.005, "true"),
        ("brightness", classes[-1], 0.61, 0.36, 0.34, 0.03, "false"),
    ]
    write_csv(folder / "cues.csv", header, cues)


def _curation(run: MadeRun, word: str) -> None:
    ids, names = run.sample_ids, _names(run)
    no_hint = pa.array([None] * len(ids), pa.string())
    samples = _manifest(run, word).append_column("status", pa.array(["keep"] * len(ids)))
    write_table(run.root / "curate" / "samples.parquet", samples.append_column("split_hint", no_hint))
    header = ("sample_id", "action", "from_label", "to_label", "from_status", "to_status")
    header += ("rule", "evidence", "who", "when", "note")
    change = (
        ids[0],
        "relabel",
        names[0],
        names[1],
        "keep",
        "relabel",
        "human",
        word,
        word,
        "2026-01-01",
        word,
    )
    write_csv(run.root / "curate" / "ledger.csv", header, [change])
    write_json(
        run.root / "class_balance" / "plan.json",
        {"strategy": "weights", "imbalance_ratio": 1.05, "classes": {}},
    )
    write_csv(run.root / "split" / "splits.csv", ("sample_id", "split"), zip(ids, run.split, strict=True))
    write_leaks(run.root / "split" / "leaks.csv", [])
    write_json(run.root / "split" / "classes.json", list(run.classes))
    header = ("class", "train", "val", "test", "out")
    write_csv(run.root / "split" / "rare.csv", header, [("<b>seldom</b>", 2, 0, 0, 1)])


def _predictions(run: MadeRun, rng: np.random.Generator, word: str) -> None:
    rows = np.flatnonzero(run.split != "train")
    truth = np.eye(len(run.classes))[run.labels[rows]]
    flat = np.full_like(truth, 1 / len(run.classes))
    baseline = run.root / "baseline" / "predictions"
    write_predicted(run, baseline / "dummy.parquet", rows, flat)
    write_predicted(run, baseline / "linear.parquet", rows, _blurred(truth, 0.2, rng))
    for name, difficulty in DIFFICULTY.items():
        probs = _blurred(truth, difficulty, rng)
        write_predicted(run, run.root / "predict" / "predictions" / f"{name}.parquet", rows, probs)
    waiting = [
        (run.sample_ids[row], *[""] * 5, run.classes[0], 0.61, 0.9, 0.2, _names(run)[row], word, word)
        for row in np.flatnonzero(run.split == "train")[:3]
    ]
    write_csv(run.root / "predict" / "review_queue.csv", QUEUE_COLUMNS, waiting)
    test = np.flatnonzero(run.split == "test")
    said = {("jpeg", 50.0): run.labels[test], ("jpeg", 10.0): np.roll(run.labels[test], 1)}
    ids = [run.sample_ids[row] for row in test]
    write_answers(run.root / "predict" / "robustness.parquet", ids, said | {("blur", 0.1): run.labels[test]})
    write_json(run.root / "predict" / "metrics.json", {"n_views": 5})
    write_json(
        run.root / "distill" / "metrics.json",
        {"parameter_ratio": 0.25, "n_parameters": 1000, "flops_per_image": 1_500_000},
    )
    for seed in ("seed0", "seed1"):
        sizes = {"n_parameters": 4000, "flops_per_image": 5_000_000}
        write_json(run.root / "train" / seed / "network.json", sizes)
    write_json(run.root / "baseline" / "human.json", {"measured": False, "reason": "no annotations."})


def _blurred(truth: np.ndarray, error_rate: float, rng: np.random.Generator) -> np.ndarray:
    """Return probabilities that name another class in `error_rate` of rows, unsure by varying degrees."""
    wrong = rng.random(len(truth)) < error_rate
    said = np.where(wrong[:, None], np.roll(truth, 1, axis=1), truth)
    sure = np.where(wrong, rng.uniform(0.55, 0.95, len(truth)), rng.beta(18, 1, len(truth)).clip(0.55))[
        :, None
    ]
    return said * sure + (1 - said) * (1 - sure) / (truth.shape[1] - 1)


def write_predicted(run: MadeRun, path: Path, rows: np.ndarray, probs: np.ndarray) -> None:
    """Write a prediction file of the samples `rows`."""
    ids = tuple(run.sample_ids[row] for row in rows)
    write_predictions(path, Predictions(ids, tuple(run.split[rows]), probs.astype(np.float32)))


def _training(run: MadeRun, word: str) -> None:
    epochs = np.arange(30)
    header = ("epoch", "phase", "learning_rate", "train_loss", "regularisation_loss", "val_loss")
    for place in ("train/seed0", "train/seed1", "distill"):
        loss = 2.2 * np.exp(-epochs / 6) + 0.05
        columns = (epochs, ["fine_tune"] * 30, 1e-3 * np.ones(30), loss, 7 - loss, 1.1 * loss, 1 - loss / 3)
        names = (*header, "val_top1_accuracy")
        write_csv(run.root / place / "history.csv", names, zip(*columns, strict=True))
    for seed in ("seed0", "seed1"):
        folder = run.root / "train" / seed
        (folder / "filters.png").write_bytes(encode_png(np.full((8, 8), 128, np.uint8)))
        layers = [("body.stem", 1.5, 0.0), ("body.blocks.0", 0.8, 0.125)]
        write_csv(folder / "activations.csv", ("module", "size", "dead"), layers)
        followed = [(epoch + 1, word, 0.1 + epoch / 40) for epoch in epochs.tolist()]
        write_csv(folder / "followed.csv", ("epoch", "sample_id", "prob_of_label"), followed)
    rates = [(10.0**power, 2.3 - 0.2 * power) for power in (-5, -4, -3)]
    write_csv(run.root / "preflight" / "rates.csv", ("learning_rate", "loss"), rates)
    write_json(run.root / "preflight" / "metrics.json", {"suggested_learning_rate": 1e-4})
    checks = [
        {"name": "loss_at_initialisation", "value": 2.31, "bound": 2.35, "passed": True, "why": word},
        {"name": "overfit_one_batch", "value": 0.002, "bound": 0.01, "passed": True, "why": "It can learn."},
    ]
    write_json(run.root / "preflight" / "checks.json", {"passed": True, "checks": checks})
    batch = np.kron(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4, np.ones((8, 8), np.uint8))
    (run.root / "preflight" / "batch.png").write_bytes(encode_png(batch))
    write_npy(run.root / "label_noise" / "pred_probs.npy", np.zeros((1, 1), np.float32))
