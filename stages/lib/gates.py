"""The gates of a release: pure judgements over claims and facts, the same for who makes and who checks.

Each gate has a name, what was seen, the bound, whether it passed, and why it exists. A fact that was not
recorded fails its gate, and cannot be overridden: nobody can sign for what nobody looked at. Other failed
gates can be, for the value that was seen and by a named person with a reason (`lib/overrides.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stages.lib.overrides import Override

Record = Mapping[str, Any]
MAX_ONNX_DIFFERENCE = 1e-4
"""Largest difference of a probability between ONNX Runtime and PyTorch: float32 sums in another order."""

MAX_RESCORED_DIFFERENCE = 1e-6
"""Largest difference between the predictions that were judged and those of the weights in the bundle."""


@dataclass(frozen=True)
class Gate:
    """One judgement."""

    name: str
    value: Any
    bound: str
    passed: bool
    why: str


class MissingRecordError(Exception):
    """A fact that no stage recorded; its text says which."""


@dataclass(frozen=True)
class Case:
    """What is judged: claims (`lib/claims.py`), recorded facts, and the bounds that params set."""

    claims: Record
    facts: Record
    bounds: Record

    def fact(self, name: str) -> Any:
        """Return a recorded fact; MissingRecordError where there is none."""
        value = self.facts.get(name)
        if value is None:
            raise MissingRecordError(f"`{name}` is not recorded")
        if isinstance(value, Mapping) and "missing" in value:
            raise MissingRecordError(str(value["missing"]))
        return value

    def compared(self, name: str) -> Record:
        """Return the paired comparison with another prediction; MissingRecordError where there is none."""
        found: Record | None = self.claims["comparisons"].get(name)
        if found is None:
            raise MissingRecordError(f"there is no prediction named {name} to compare with")
        return found


Judge = Callable[[Case], list[Gate]]


def judge(claims: Record, facts: Record, bounds: Record, overrides: Sequence[Override]) -> dict[str, Any]:
    """Return the verdict: every gate, which were overridden by whom, and whether the release may be made."""
    case = Case(claims, facts, bounds)
    gates = [gate for name, judgement in JUDGES.items() for gate in _judged(name, judgement, case)]
    records = [_with_override(gate, overrides) for gate in gates]
    return {
        "passed": all(record["passed"] or record["override"] is not None for record in records),
        "gates": records,
        "overridden": [record["name"] for record in records if record["override"] is not None],
    }


def _judged(name: str, judgement: Judge, case: Case) -> list[Gate]:
    try:
        return judgement(case)
    except MissingRecordError as missing:
        return [Gate(name, None, "a record", False, f"{missing}: what was not recorded was not checked")]


def _with_override(gate: Gate, overrides: Sequence[Override]) -> dict[str, Any]:
    applies = [
        override
        for override in overrides
        if override.gate == gate.name and override.value == shown(gate.value)
    ]
    usable = not gate.passed and gate.value is not None and applies
    act = {"reason": applies[-1].reason, "by": applies[-1].by, "when": applies[-1].when} if usable else None
    return asdict(gate) | {"override": act}


def shown(value: Any) -> str:
    """Write a gate's value as overrides name it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _beats(case: Case) -> list[Gate]:
    return [_beats_all(case, family) for family in case.bounds["beats"]]


def _beats_all(case: Case, name: str) -> Gate:
    """Judge by one prediction; by the strongest where the name is that of the dummies."""
    known = case.claims["comparisons"]
    ends = {
        other: float(record["ci"][0])
        for other, record in known.items()
        if other == name or (name == "dummy" and other.startswith("dummy_"))
    }
    if name not in ends:
        why = f"there is no prediction named {name} to compare with"
        return Gate(f"beats_{name}", None, "> 0", False, why)
    strongest = min(ends, key=lambda other: (ends[other], other))
    of_how_many = f", the strongest of {len(ends)}" if len(ends) > 1 else ""
    why = (
        f"the model must be better than `{strongest}`{of_how_many} beyond chance: lower end of the paired "
        "interval"
    )
    return Gate(f"beats_{name}", ends[strongest], "> 0", ends[strongest] > 0, why)


def _preflight(case: Case) -> list[Gate]:
    record = case.fact("preflight")
    failed = list(record["failed"])
    why = "training that fails a preflight check may still give a number, and it means nothing"
    passed = not failed and record["n"] > 0
    return [Gate("preflight", len(failed), "0 checks failed", passed, _named(why, failed))]


def _validation(case: Case) -> list[Gate]:
    record = case.fact("validation")
    failed = list(record["failed"])
    why = "no critical expectation on the data may have failed"
    passed = not failed and record["n"] > 0
    return [Gate("validation", len(failed), "0 critical failures", passed, _named(why, failed))]


def _named(why: str, failed: Sequence[str]) -> str:
    return f"{why}; failed: {', '.join(failed[:10])}" if failed else why


def _zero(fact: str, why: str) -> Judge:
    def judged(case: Case) -> list[Gate]:
        value = int(case.fact(fact))
        return [Gate(fact, value, "= 0", value == 0, why)]

    return judged


def _calibration(case: Case) -> list[Gate]:
    value = float(case.claims["calibrated"]["ece"])
    why = "expected calibration error on test, after val's temperature: confidence must mean something"
    return [Gate("calibrated", value, f"<= {case.bounds['max_ece']:g}", value <= case.bounds["max_ece"], why)]


def _human(case: Case) -> list[Gate]:
    record = case.fact("human")
    if not record["measured"]:
        passed = not case.bounds["require_human"]
        why = "nobody knows how well people do on these images: " + (
            "release.require_human allows that" if passed else "release.require_human asks for it"
        )
        return [
            Gate("human", "not measured", "measured" if case.bounds["require_human"] else "any", passed, why)
        ]
    low = float(case.compared("human")["ci"][0])
    bound = -case.bounds["human_margin"]
    why = "not worse than people by more than release.human_margin: lower end of the paired interval"
    return [Gate("human", low, f">= {bound:g}", low >= bound, why)]


def _student(case: Case) -> list[Gate]:
    if case.bounds["model"] != "student":
        return []
    low = float(case.compared("ensemble")["ci"][0])
    bound = -case.bounds["student_margin"]
    why = "the student stands for the ensemble: not worse by more than release.student_margin (lower end)"
    return [Gate("student_margin", low, f">= {bound:g}", low >= bound, why)]


def _size(case: Case) -> list[Gate]:
    value = int(case.fact("size_bytes"))
    bound = case.bounds["max_size_mb"] * 1_000_000
    why = "weights and ONNX together must fit where the model is to run"
    return [Gate("size", value, f"<= {bound:.0f} bytes", value <= bound, why)]


def _latency(case: Case) -> list[Gate]:
    value = bool(case.fact("latency_within_bound"))
    why = (
        "median time of one image by ONNX Runtime on one core of the machine that made the release; the time "
        "itself is in the tracked run, because it is not the same twice"
    )
    return [Gate("latency", value, f"<= {case.bounds['max_latency_ms']:g} ms", value, why)]


def _slices(case: Case) -> list[Gate]:
    large = {
        name: record["top1_accuracy"]
        for name, record in case.claims["classes"].items()
        if record["n"] >= case.bounds["min_slice_size"]
    }
    floor = case.bounds["min_slice_accuracy"]
    if not large:
        why = (
            f"no class has the {case.bounds['min_slice_size']} test samples that release.min_slice_size asks"
        )
        return [Gate("slices", "none large enough", f">= {floor:g}", False, why)]
    worst = min(large, key=lambda name: (large[name], name))
    why = f"the worst of {len(large)} classes is {worst!r}: a good mean must not hide a class not learned"
    return [Gate("slices", large[worst], f">= {floor:g}", large[worst] >= floor, why)]


def _onnx(case: Case) -> list[Gate]:
    record = case.fact("onnx")
    changed, difference = int(record["n_top1_changed"]), float(record["max_difference"])
    return [
        Gate(
            "onnx_top1", changed, "= 0", changed == 0, "ONNX must choose the same class on the whole test set"
        ),
        Gate(
            "onnx_probabilities",
            difference,
            f"<= {MAX_ONNX_DIFFERENCE:g}",
            difference <= MAX_ONNX_DIFFERENCE,
            "largest difference of a probability between ONNX Runtime and PyTorch",
        ),
    ]


def _rescored(case: Case) -> list[Gate]:
    value = float(case.fact("rescored_difference"))
    why = "the weights in the bundle must give the predictions that were judged"
    bound = f"<= {MAX_RESCORED_DIFFERENCE:g}"
    return [Gate("rescored", value, bound, value <= MAX_RESCORED_DIFFERENCE, why)]


def _agreement(case: Case) -> list[Gate]:
    value = float(case.fact("evaluated_top1_accuracy")) - float(case.claims["test"]["top1_accuracy"])
    why = "the accuracy that is claimed must be the one that `evaluate` measured"
    return [Gate("agrees_with_evaluation", value, "= 0", abs(value) <= 1e-12, why)]


JUDGES: Mapping[str, Judge] = {
    "beats": _beats,
    "preflight": _preflight,
    "validation": _validation,
    "leaked_test_samples": _zero(
        "leaked_test_samples", "test samples with a copy, or a member of their group, in train or val"
    ),
    "unusable_samples": _zero(
        "unusable_samples", "neutral or dropped samples that stand in train, val or test"
    ),
    "test_labels_by_rule": _zero(
        "test_labels_by_rule", "test labels and test membership may be changed by people alone"
    ),
    "calibrated": _calibration,
    "human": _human,
    "student_margin": _student,
    "slices": _slices,
    "size": _size,
    "latency": _latency,
    "onnx": _onnx,
    "rescored": _rescored,
    "agrees_with_evaluation": _agreement,
}
