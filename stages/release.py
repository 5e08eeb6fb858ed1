"""Judge the trained model by gates, and put what passes into a payload that carries its own evidence.

From what every stage recorded to `verdict.json`, always, and to `payload/`, which holds the model only when
every gate passed or was overridden by a named person (data/review/overrides.csv). The stage ends well either
way, because a refused model is a result (most experiments are refused); `assay release` is what insists.

The payload is a pure function of data, params and code: weights (safetensors), ONNX with measured parity,
classes, preprocessing, calibration, the scored val and test samples, the claims that follow from them, the
facts that gates were judged by, a model card and a bill of materials. `assay release` adds who, when in the
history, and a signature (`lib/bundle.py`).

Cost: 9 CPU seconds, five of them the export to ONNX, three to import PyTorch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from stages.lib.artifacts import write_json, write_table, write_text
from stages.lib.bill_of_materials import bill_of_materials
from stages.lib.claims import Scored, Settings, make_claims, write_scored
from stages.lib.cli import Context, stage_main
from stages.lib.config import Section
from stages.lib.dataset import Dataset, load_dataset
from stages.lib.gates import judge
from stages.lib.model_card import About, model_card
from stages.lib.overrides import read_overrides
from stages.lib.payload import (
    CALIBRATION,
    CARD,
    CLAIMS,
    CLASSES,
    FACTS,
    MATERIALS,
    PREPROCESSING,
    SAMPLES,
    SCORED,
    VERDICT,
)
from stages.lib.payload_model import empty_folder, put_model
from stages.lib.progress import say
from stages.lib.release_records import (
    Chain,
    recorded_facts,
    rescored_difference,
    sample_table,
    scored_samples,
)
from stages.lib.square import Fit
from stages.lib.training_params import Seeds
from stages.lib.truth import load_truth

if TYPE_CHECKING:
    from stages.lib.released import Released


class Params(Section):
    """Section `release` of params.yaml."""

    name: str = Field(min_length=1, max_length=200)
    license: str = Field(max_length=100)
    intended_use: str = Field(max_length=4000)
    out_of_scope: str = Field(max_length=4000)
    model: Literal["student", "ensemble"]
    beats: tuple[Literal["dummy", "linear", "linear_embedding", "knn", "svc"], ...] = Field(min_length=1)
    student_margin: float = Field(ge=0, le=1)
    require_human: bool
    human_margin: float = Field(ge=0, le=1)
    max_ece: float = Field(gt=0, le=1)
    min_slice_accuracy: float = Field(ge=0, le=1)
    min_slice_size: int = Field(ge=1)
    max_answered_error: float = Field(ge=0, le=1)
    max_latency_ms: float = Field(gt=0)
    max_size_mb: float = Field(gt=0, le=2000)


class EvaluateView(Section):
    """How `evaluate` draws intervals: the release draws its own alike."""

    bootstrap_draws: int
    confidence: float
    ece_bins: int
    seed: int


class IngestView(Section):
    """How images become stored images: whoever uses the model has to do the same."""

    image_size: int
    fit: Fit
    background: tuple[int, int, int]
    max_pixels: int
    min_side: int
    max_aspect: float


class TrainView(Section):
    """Which members there are."""

    seeds: Seeds


def bounds(params: Params) -> dict[str, Any]:
    """Return what the gates compare with, as it is written into the payload."""
    names = ("name", "license", "intended_use", "out_of_scope")
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in params if key not in names
    }


def preprocessing(ingest: IngestView, dataset: Dataset, model: "Released") -> dict[str, Any]:
    """Return how a file becomes the model's input."""
    return {
        "rules": {key: list(value) if isinstance(value, tuple) else value for key, value in ingest},
        "channels": int(dataset.pixels.shape[-1]),
        "layout": "N, H, W, C uint8; upright by EXIF, transparency laid on the background",
        "normalisation": {
            "inside_the_model": True,
            "mean": list(model.normalisation.mean),
            "std": list(model.normalisation.std),
        },
    }


@dataclass(frozen=True)
class Outcome:
    """What was judged: claims and how they are drawn, facts, the bounds of the gates, and the verdict."""

    claims: dict[str, Any]
    settings: Settings
    facts: dict[str, Any]
    bounds: dict[str, Any]
    verdict: dict[str, Any]


def run(
    params: Params,
    *,
    images: Path,
    duplicates: Path,
    curate: Path,
    validate: Path,
    split: Path,
    baseline: Path,
    preflight: Path,
    members: Path,
    distill: Path,
    predict: Path,
    evaluation: Path,
    review: Path,
    requirements: Path,
    out: Path,
    ingest: IngestView,
    evaluate: EvaluateView,
    train: TrainView,
    context: Context,
) -> dict[str, Any]:
    """Write verdict.json and payload/; return the verdict in numbers."""
    from stages.lib.released import model_files

    chain = Chain(images, duplicates, curate, validate, split, baseline, preflight, predict, evaluation)
    payload = empty_folder(out / "payload")
    dataset, truth = load_dataset(images, curate, split), load_truth(curate, split, duplicates)
    files = model_files(params.model, members, distill, train.seeds)
    model, pred_probs, measured = put_model(payload, files, dataset, truth, params.max_latency_ms, context)
    scored = scored_samples(truth, chain, params.model, pred_probs)
    facts = recorded_facts(chain, params.model) | measured
    facts |= {"rescored_difference": rescored_difference(chain, truth, params.model, pred_probs)}
    settings = Settings(
        confidence=evaluate.confidence,
        bootstrap_draws=evaluate.bootstrap_draws,
        seed=evaluate.seed,
        ece_bins=evaluate.ece_bins,
        max_answered_error=params.max_answered_error,
    )
    claims = make_claims(scored, dataset.classes, settings)
    verdict = judge(claims, facts, bounds(params), read_overrides(review))
    outcome = Outcome(claims, settings, facts, bounds(params), verdict)
    write_json(out / VERDICT, verdict)
    if verdict["passed"]:
        write_evidence(payload, params, outcome, scored, dataset.classes, requirements)
        write_json(payload / PREPROCESSING, preprocessing(ingest, dataset, model))
        write_table(payload / SAMPLES, sample_table(chain))
    else:
        empty_folder(payload)
    tell(verdict)
    return figures(verdict, claims)


def write_evidence(
    payload: Path,
    params: Params,
    outcome: Outcome,
    scored: Scored,
    classes: tuple[str, ...],
    requirements: Path,
) -> None:
    """Write what the model claims and what that rests on."""
    claims = outcome.claims
    write_json(payload / CLASSES, list(classes))
    calibration = {
        "temperature": claims["calibrated"]["temperature"],
        "abstain_below": claims["abstention"]["threshold"],
    }
    write_json(payload / CALIBRATION, calibration)
    write_scored(payload / SCORED, scored)
    write_json(payload / CLAIMS, {"claims": claims, "settings": asdict(outcome.settings)})
    write_json(payload / FACTS, {"bounds": outcome.bounds, "facts": outcome.facts})
    write_json(payload / VERDICT, outcome.verdict)
    about = About(params.name, params.license, params.intended_use, params.out_of_scope)
    write_text(payload / CARD, model_card(about, asdict(outcome), classes))
    write_text(payload / MATERIALS, bill_of_materials(about, payload, outcome.facts, requirements))


def tell(verdict: Mapping[str, Any]) -> None:
    """Say what was decided, and each gate that stands against it."""
    for gate in verdict["gates"]:
        if not gate["passed"]:
            mark = "overridden" if gate["override"] else "FAILED"
            say(
                f"gate {gate['name']}: {mark}: {gate['value']} where {gate['bound']} was asked; {gate['why']}"
            )
    say("the gates are passed" if verdict["passed"] else "NOT RELEASED: see data/release/verdict.json")


def figures(verdict: Mapping[str, Any], claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict as metrics."""
    gates = verdict["gates"]
    return {
        "passed": int(verdict["passed"]),
        "n_gates": len(gates),
        "n_failed": sum(not gate["passed"] for gate in gates),
        "n_overridden": len(verdict["overridden"]),
        "test_top1_accuracy": claims["test"]["top1_accuracy"],
        "temperature": claims["calibrated"]["temperature"],
        "abstain_below": claims["abstention"]["threshold"],
        "coverage": claims["abstention"]["coverage"],
    }


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
