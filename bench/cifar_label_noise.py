"""Do we find the wrong labels that people gave CIFAR-10 (CIFAR-10N), and what do three of them agree on?

    python -m bench.cifar_label_noise [--annotators 1|3] [--model network|linear] [--n 50000] [--set epochs=4]

Reads `cifar10/train.parquet` of the shared data (ASSAY_SHARED_DATA, or ../shared/data). The given label is
annotator_1's. --annotators 1 shows the stage that label alone, 3 all three. Calls the stage's own `judge`
with params.yaml's section `label_noise`, the model, FOLDS for the network and --set on top, and scores with
clean_label, which no stage reads. Figures are given for all, even and odd rows: the one setting that was
chosen here, label_noise.score, was chosen on even rows.
CPU seconds hold decoding, embedding (linear), folds, scores and imports.
"""

import argparse
import io
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from stages import embed, label_noise
from stages.lib.config import load_section
from stages.lib.label_findings import annotator_rows
from stages.lib.label_scores import score_labels
from stages.lib.labelled import Labelled
from stages.lib.neighbours import nearest
from stages.lib.noise_rate import confusions
from stages.lib.picture_identity import same_picture

NAMES = ("annotator_1", "annotator_2", "annotator_3")
NEIGHBOURS = 50


def read(n: int) -> tuple[np.ndarray, dict[str, np.ndarray], list[str]]:
    """Return pixels (n, 32, 32, 3), class positions by column, and the classes."""
    from PIL import Image

    root = Path(os.environ.get("ASSAY_SHARED_DATA") or "../shared/data")
    table = pq.read_table(root / "cifar10" / "train.parquet").slice(0, n)
    encoded = [image["bytes"] for image in table["image"].to_pylist()]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image in encoded])
    columns = {name: np.array(table[name].to_pylist()) for name in (*NAMES, "clean_label")}
    classes = sorted(set(columns["annotator_1"]))
    return pixels, {name: np.searchsorted(classes, column) for name, column in columns.items()}, classes


def halves(n: int) -> Iterable[tuple[str, np.ndarray]]:
    """Yield the name and rows of all, even and odd rows."""
    yield from (("all", np.arange(n)), ("even", np.arange(0, n, 2)), ("odd", np.arange(1, n, 2)))


def print_ranking(name: str, doubt: np.ndarray, wrong: np.ndarray) -> None:
    """Print the average precision of a score that is high where a label is doubted."""
    from sklearn.metrics import average_precision_score

    figures = [f"{part} {average_precision_score(wrong[r], doubt[r]):.4f}" for part, r in halves(len(wrong))]
    print(f"average precision, {name:18s} {', '.join(figures)}")


def print_issues(issue: np.ndarray, wrong: np.ndarray) -> None:
    """Print precision, recall and F1 of the labels called issues."""
    for part, rows in halves(len(wrong)):
        hits = int((issue & wrong)[rows].sum())
        called, there = int(issue[rows].sum()), int(wrong[rows].sum())
        f1 = 2 * hits / (called + there)
        precision, recall = hits / max(1, called), hits / max(1, there)
        print(f"issues, {part:4s} {called}: precision {precision:.4f}, recall {recall:.4f}, F1 {f1:.4f}")


def neighbours_doubt(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the share of each picture's nearest neighbours (by embedding) that have another label."""
    vectors = embed.embed_all(pixels, load_section(embed.Params, "embed"))
    return np.asarray((labels[nearest(vectors, NEIGHBOURS)] != labels[:, None]).mean(1))


def judge(
    pixels: np.ndarray,
    columns: dict[str, np.ndarray],
    classes: list[str],
    names: tuple[str, ...],
    params: Any,
) -> tuple[Labelled, label_noise.Judgement]:
    """Call the stage's core on annotator_1's labels and the votes of `names`."""
    votes = np.stack([columns[name] for name in names], axis=1) if names else np.zeros((len(pixels), 0), int)
    linear = params.model == "linear"
    inputs = embed.embed_all(pixels, load_section(embed.Params, "embed")) if linear else pixels
    ids = [str(row) for row in range(len(pixels))]
    given = columns["annotator_1"]
    labelled = Labelled(ids, classes, given, list(names), votes, inputs, same_picture(pixels))
    return labelled, label_noise.judge(labelled, params)


def params_of(model: str, changes: list[str]) -> label_noise.Params:
    """Return params.yaml's section with the model and `key=value` changes."""
    section = load_section(label_noise.Params, "label_noise").model_dump() | {"model": model}
    if model == "network":
        section["folds"] = FOLDS
    section |= {key: yaml.safe_load(value) for key, value in (change.split("=") for change in changes)}
    return label_noise.Params.model_validate(section | {"widths": tuple(section["widths"])})


FOLDS = 3
"""For the network: 5 instead of 3 cost twice as much and train on a fifth more."""


def main() -> None:
    """Judge, score, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--annotators", type=int, choices=(1, 3), default=1)
    parser.add_argument("--model", choices=("network", "linear"), default="network")
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--neighbours", action="store_true", help="also score by neighbours' votes (minutes)")
    asked = parser.parse_args()
    pixels, columns, classes = read(asked.n)
    params = params_of(asked.model, asked.set)
    names = NAMES if asked.annotators == 3 else ()
    labelled, found = judge(pixels, columns, classes, names, params)
    seconds = time.process_time()
    truth, given = columns["clean_label"], labelled.labels
    wrong = given != truth
    print(f"n = {len(given)}, {params}\nCPU seconds {seconds:.0f}; wrong labels {wrong.mean():.4f}")
    print(f"model's own accuracy out of sample: {(found.pred_probs.argmax(1) == truth).mean():.4f}")
    print_ranking("the stage's quality", 1 - found.scores.label_quality, wrong)
    print_issues(found.scores.is_label_issue, wrong)
    for score in ("self_confidence", "normalized_margin", "odds") if not names else ():
        other = score_labels(
            given, found.pred_probs, found.assessable, params.model_copy(update={"score": score})
        )
        print_ranking(score, 1 - other.label_quality, wrong)
    if asked.neighbours:
        print_ranking("neighbours' votes", neighbours_doubt(pixels, given), wrong)
    low, high = found.noise.interval
    print(f"noise rate {found.noise.rate:.4f}, interval {low:.4f} to {high:.4f}")
    for row in confusions(found.noise.matrix, classes)[:5]:
        hits = int(((given == classes.index(row[0])) & (truth == classes.index(row[1]))).sum())
        print(f"  given {row[0]}, true {row[1]}: estimated {row[2]:.0f}, in truth {hits}")
    if found.consensus is not None:
        right = found.scores.suggested == truth
        print(
            "consensus accuracy",
            ", ".join(f"{part} {right[rows].mean():.4f}" for part, rows in halves(len(truth))),
        )
        print(f"model's power {found.consensus.power:.2f}")
        for name, _, estimated, *_ in annotator_rows(found.names, found.votes, found.consensus):
            actual = (columns[name] == truth).mean()
            print(f"  {name}: estimated accuracy {estimated:.4f}, in truth {actual:.4f}")


if __name__ == "__main__":
    main()
