"""Check a release against the data it was made from: score the frozen test set again, re-read the facts."""

from pathlib import Path

import numpy as np

from stages.lib.artifacts import read_json
from stages.lib.claims import Scored, Settings, make_claims, read_scored
from stages.lib.dataset import load_dataset
from stages.lib.gates import MAX_RESCORED_DIFFERENCE, judge
from stages.lib.onnx_model import predict_onnx, read_onnx
from stages.lib.payload import CLAIMS, CLASSES, FACTS, ONNX, SCORED, VERDICT, weight_files
from stages.lib.release_records import Chain, recorded_facts
from stages.lib.truth import Truth, load_truth
from stages.lib.verification import Check, ask, differences, scored_again, stated_overrides

FROM_CHAIN = (
    "leaked_test_samples",
    "unusable_samples",
    "test_labels_by_rule",
    "preflight",
    "validation",
    "n_samples",
)
"""Facts that are read again from the chain's own records."""


def chain_of(data: Path) -> Chain:
    """Return where a clone's stages left their records below its `data` folder."""
    names = (
        "ingest",
        "duplicates",
        "curate",
        "validate",
        "split",
        "baseline",
        "preflight",
        "predict",
        "evaluate",
    )
    return Chain(**{name: data / name for name in names})


def verify_with_data(bundle: Path, data: Path) -> list[Check]:
    """Score val and test with the bundle's weights and its ONNX, draw claims and verdict again, compare.

    InputError where the data are not those of a chain that has run: nothing can be judged then.
    """
    chain = chain_of(data)
    scored, classes = read_scored(bundle / SCORED), tuple(read_json(bundle / CLASSES))
    truth = load_truth(chain.curate, chain.split, chain.duplicates)
    same = ask("frozen test set", lambda: sample_faults(scored, truth))
    if not same.passed:
        return [same]
    pixels = pixels_in_order(chain, scored)
    return [
        same,
        ask("weights scored again", lambda: weight_faults(bundle, scored, classes, pixels)),
        ask("onnx scored again", lambda: onnx_faults(scored, predict_onnx(read_onnx(bundle / ONNX), pixels))),
        ask("records", lambda: record_faults(bundle, chain)),
    ]


def weight_faults(bundle: Path, scored: Scored, classes: tuple[str, ...], pixels: np.ndarray) -> list[str]:
    """Score the pixels (N, H, W, C) with the bundle's weights, and draw all claims from that."""
    from stages.lib.released import load_released, predict_torch

    model, _ = load_released(weight_files(bundle), classes)
    again = predict_torch(model, pixels)
    return [*score_faults(scored, again), *claim_faults(bundle, scored_again(scored, again), classes)]


def sample_faults(scored: Scored, truth: Truth) -> list[str]:
    """Compare the samples, their splits and labels with those of the data at hand."""
    if sorted(scored.sample_ids) != sorted(truth.sample_ids):
        strange = set(scored.sample_ids) ^ set(truth.sample_ids)
        return [
            f"{len(strange)} val or test samples are in one of data and bundle only, such as {min(strange)}"
        ]
    position = {name: row for row, name in enumerate(truth.sample_ids)}
    order = np.array([position[name] for name in scored.sample_ids])
    faults = []
    for what, mine, theirs in (("split", scored.split, truth.split), ("label", scored.labels, truth.labels)):
        changed = np.flatnonzero(mine != theirs[order])
        if len(changed):
            faults.append(
                f"{len(changed)} samples have another {what}, such as {scored.sample_ids[changed[0]]}"
            )
    return faults


def pixels_in_order(chain: Chain, scored: Scored) -> np.ndarray:
    """Return the stored pixels (N, H, W, C) of the scored samples, in their order."""
    dataset = load_dataset(chain.ingest, chain.curate, chain.split)
    position = {name: row for row, name in enumerate(dataset.sample_ids)}
    return np.asarray(dataset.pixels[[position[name] for name in scored.sample_ids]])


def score_faults(scored: Scored, again: np.ndarray) -> list[str]:
    """Compare stated and new probabilities (N, K)."""
    difference = float(np.abs(scored.pred_probs - again).max())
    limit = MAX_RESCORED_DIFFERENCE
    return [] if difference <= limit else [f"a probability differs by {difference:.2g}, more than {limit:g}"]


def onnx_faults(scored: Scored, by_onnx: np.ndarray) -> list[str]:
    """Count test samples for which ONNX chooses another class."""
    test = scored.part("test")
    changed = int((scored.pred_probs[test].argmax(1) != by_onnx[test].argmax(1)).sum())
    return [f"ONNX chooses another class on {changed} of {len(test)} test samples"] if changed else []


def claim_faults(bundle: Path, scored: Scored, classes: tuple[str, ...]) -> list[str]:
    """Draw all claims again, from new scores."""
    stated = read_json(bundle / CLAIMS)
    return list(differences(stated["claims"], make_claims(scored, classes, Settings(**stated["settings"]))))


def record_faults(bundle: Path, chain: Chain) -> list[str]:
    """Read the facts that gates rest on again, and judge by them."""
    record, stated = read_json(bundle / FACTS), read_json(bundle / VERDICT)
    found = recorded_facts(chain, record["bounds"]["model"])
    facts = record["facts"] | {name: found[name] for name in FROM_CHAIN}
    again = judge(read_json(bundle / CLAIMS)["claims"], facts, record["bounds"], stated_overrides(stated))
    changed = {name: record["facts"].get(name) for name in FROM_CHAIN}
    return [*differences(changed, {name: found[name] for name in FROM_CHAIN}), *differences(stated, again)]
