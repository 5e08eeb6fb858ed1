"""Check a release without believing it: signature, digests, and claims that follow from its own records.

Everything here works offline, on the bundle alone, without torch: a check that needs the data, or the code's
word, is in `lib/rescoring.py`. Nothing in the bundle is opened before the signature holds.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.artifacts import read_json
from stages.lib.bundle import PREDICATE, STATEMENT
from stages.lib.claims import Scored, Settings, make_claims, read_scored
from stages.lib.errors import InputError
from stages.lib.gates import judge, shown
from stages.lib.overrides import Override
from stages.lib.payload import (
    AUDIT,
    CALIBRATION,
    CARD,
    CLAIMS,
    CLASSES,
    FACTS,
    MATERIALS,
    ONNX,
    SCORED,
    SIGNED_WITH,
    VERDICT,
    files_of,
    sha256_of,
    weight_files,
)
from stages.lib.signing import check_signature, fingerprint

TOLERANCE = 1e-6
"""Largest difference of a figure that is computed again: sums in another order, another processor."""


@dataclass(frozen=True)
class Check:
    """One question that was asked of a bundle; detail says what was found."""

    name: str
    passed: bool
    detail: str


def verify(bundle: Path, public: Path) -> list[Check]:
    """Ask everything that needs the bundle alone; where the signature does not hold, nothing more."""
    files_of(bundle, signed=True)
    reason = check_signature(bundle, public)
    if reason:
        return [
            Check(
                "signature",
                False,
                f"not signed by key {fingerprint(public)[:16]}, or changed since: {reason}",
            )
        ]
    checks = [Check("signature", True, f"signed by key {fingerprint(public)}")]
    questions: Sequence[tuple[str, Callable[[Path], list[str]]]] = (
        ("digests", digest_faults),
        ("weights", weight_faults),
        ("claims", claim_faults),
        ("verdict", verdict_faults),
        ("calibration", calibration_faults),
        ("model card", card_faults),
        ("bill of materials", material_faults),
        ("onnx", onnx_faults),
    )
    return checks + [ask(name, partial(question, bundle)) for name, question in questions]


NOT_READABLE = (
    InputError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    RecursionError,
    OSError,
)
"""How reading a hostile file fails."""


def ask(name: str, question: Callable[[], list[str]]) -> Check:
    """Return the check of a question that answers with what it found wrong; what cannot be read is wrong."""
    try:
        faults = question()
    except NOT_READABLE as error:
        faults = [f"cannot be read ({type(error).__name__}: {error})"]
    return Check(name, not faults, "; ".join(faults[:5]) if faults else "in order")


def digest_faults(bundle: Path) -> list[str]:
    """Compare the audit statement's subjects with the files."""
    audit = read_json(bundle / AUDIT)
    if audit["_type"] != STATEMENT or audit["predicateType"] != PREDICATE:
        return [f"{AUDIT} is no audit statement of this kind"]
    stated = {subject["name"]: subject["digest"]["sha256"] for subject in audit["subject"]}
    found = {
        name: sha256_of(path)
        for name, path in files_of(bundle, signed=True).items()
        if name not in SIGNED_WITH
    }
    names = sorted(stated.keys() | found.keys())
    faults = [
        f"{name} is not the file that {AUDIT} names" for name in names if stated.get(name) != found.get(name)
    ]
    copies = {"claims": read_json(bundle / CLAIMS)["claims"], "facts": read_json(bundle / FACTS)["facts"]}
    copies["verdict"] = read_json(bundle / VERDICT)
    return faults + [
        f"{AUDIT} states other {name}" for name, value in copies.items() if audit["predicate"][name] != value
    ]


def succession_faults(bundle: Path, before: Path) -> list[str]:
    """Ask whether a release names another as the one before it: an older one offered as newest does not."""
    parent = read_json(bundle / AUDIT)["predicate"]["parent"]
    if parent == sha256_of(before / AUDIT):
        return []
    return [f"it names {parent or 'no release'} as the one before it, not {sha256_of(before / AUDIT)}"]


def weight_faults(bundle: Path) -> list[str]:
    """Read the weights: whole safetensors, finite numbers, made for the bundle's classes."""
    from safetensors import SafetensorError, safe_open

    classes, faults = read_json(bundle / CLASSES), []
    for name, path in weight_files(bundle).items():
        try:
            with safe_open(path, framework="numpy") as file:
                card = json.loads((file.metadata() or {}).get("assay", "{}"))
                broken = [key for key in file.keys() if not np.isfinite(file.get_tensor(key)).all()]  # noqa: SIM118
        except (SafetensorError, ValueError) as error:
            faults.append(f"{name}: not whole ({error})")
            continue
        faults += [f"{name}: {key} holds NaN or infinite numbers" for key in broken]
        if card.get("classes") != classes:
            faults.append(f"{name}: made for other classes than {CLASSES} names")
    return faults


def claim_faults(bundle: Path) -> list[str]:
    """Compute every claim again from the scored samples."""
    stated = read_json(bundle / CLAIMS)
    classes = tuple(read_json(bundle / CLASSES))
    again = make_claims(read_scored(bundle / SCORED), classes, Settings(**stated["settings"]))
    return list(differences(stated["claims"], again))


def differences(stated: Any, again: Any, place: str = "") -> Iterator[str]:
    """Yield where two nested records differ by more than rounding."""
    if isinstance(stated, Mapping) and isinstance(again, Mapping):
        for key in sorted(stated.keys() | again.keys()):
            yield from differences(stated.get(key), again.get(key), f"{place}.{key}" if place else str(key))
    elif isinstance(stated, list) and isinstance(again, list) and len(stated) == len(again):
        for position, (one, other) in enumerate(zip(stated, again, strict=True)):
            yield from differences(one, other, f"{place}[{position}]")
    elif _is_number(stated) and _is_number(again):
        if not abs(stated - again) <= TOLERANCE:
            yield f"{place} is stated as {stated:.10g}, and comes out as {again:.10g}"
    elif stated != again:
        yield f"{place} is stated as {stated!r}, and comes out as {again!r}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def verdict_faults(bundle: Path) -> list[str]:
    """Judge again by the stated bounds and facts, with the overrides that the verdict records."""
    record, stated = read_json(bundle / FACTS), read_json(bundle / VERDICT)
    again = judge(
        read_json(bundle / CLAIMS)["claims"], record["facts"], record["bounds"], stated_overrides(stated)
    )
    faults = list(differences(stated, again))
    return faults if stated["passed"] else [*faults, "the gates were not passed"]


def stated_overrides(verdict: Mapping[str, Any]) -> list[Override]:
    """Return the overrides that a verdict records."""
    return [
        Override(gate["name"], shown(gate["value"]), **gate["override"])
        for gate in verdict["gates"]
        if gate["override"] is not None
    ]


def calibration_faults(bundle: Path) -> list[str]:
    """Compare what a user of the model reads with what was claimed."""
    claims, used = read_json(bundle / CLAIMS)["claims"], read_json(bundle / CALIBRATION)
    expected = {
        "temperature": claims["calibrated"]["temperature"],
        "abstain_below": claims["abstention"]["threshold"],
    }
    return list(differences(used, expected))


def card_faults(bundle: Path) -> list[str]:
    """Look for the claimed accuracy in the card's front matter."""
    accuracy = read_json(bundle / CLAIMS)["claims"]["test"]["top1_accuracy"]
    text = (bundle / CARD).read_text(encoding="utf-8")
    return [] if f"      value: {accuracy}\n" in text else ["it states another accuracy than the claims"]


def material_faults(bundle: Path) -> list[str]:
    """Compare the bill's digests of the model's files."""
    bill = read_json(bundle / MATERIALS)
    parts = [*bill["metadata"]["component"]["components"], *bill["components"]]
    stated = {part["name"]: part["hashes"][0]["content"] for part in parts if "hashes" in part}
    files = [*weight_files(bundle).values(), bundle / ONNX, bundle / SCORED]
    return [f"{path.name} has another digest" for path in files if stated.get(path.name) != sha256_of(path)]


def onnx_faults(bundle: Path) -> list[str]:
    """Run the ONNX model on grey pictures: it must give one probability a class."""
    from stages.lib.onnx_model import predict_onnx, read_onnx

    session = read_onnx(bundle / ONNX)
    shape = session.get_inputs()[0].shape[1:]
    pixels = np.full((2, *shape), 128, np.uint8)
    pred_probs = predict_onnx(session, pixels)
    n_classes = len(read_json(bundle / CLASSES))
    if pred_probs.shape != (2, n_classes):
        return [f"it gives {pred_probs.shape[1:]} numbers for {n_classes} classes"]
    return [] if np.allclose(pred_probs.sum(1), 1, atol=1e-4) else ["its numbers are no probabilities"]


def as_records(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Return the checks as plain records."""
    return [asdict(check) for check in checks]


def scored_again(scored: Scored, pred_probs: np.ndarray) -> Scored:
    """Return the scored samples with other pred_probs (N, K)."""
    return Scored(**{**vars(scored), "pred_probs": pred_probs})
