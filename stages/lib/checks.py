"""One measured fact held against its bound: what every check before training returns."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Check:
    """One measured fact: `value` against `bound` (text, e.g. `<= 0.05`); `why` says what a fault means."""

    name: str
    value: float
    bound: str
    passed: bool
    why: str


def at_most(name: str, value: float, bound: float, why: str) -> Check:
    """Judge a value that must not exceed its bound; one that is not finite fails."""
    return Check(name, _shown(value), f"<= {bound:.4g}", bool(np.isfinite(value) and value <= bound), why)


def at_least(name: str, value: float, bound: float, why: str) -> Check:
    """Judge a value that must reach its bound; one that is not finite fails."""
    return Check(name, _shown(value), f">= {bound:.4g}", bool(np.isfinite(value) and value >= bound), why)


def _shown(value: float) -> float:
    """Return the value as JSON can hold it: what is no number becomes the largest one."""
    return float(value) if np.isfinite(value) else float(np.finfo(np.float64).max)
