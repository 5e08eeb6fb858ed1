"""Choose the split's salt by label counts alone, before anything is trained: rerandomisation.

A split by a hash of each sample never moves what is assigned when data grows, but its class shares vary as
chance has it. Drawing many salts and keeping the one whose shares lie nearest to those asked for gives a
stratified start without giving that up (Morgan & Rubin 2012, Rerandomization to improve covariate balance).
No prediction is looked at. After the first training the salt must stay: another one moves everything.
"""

from dataclasses import dataclass
from pathlib import Path

from stages.lib.assignment import place_samples
from stages.lib.config import load_section
from stages.lib.division import Samples, divide
from stages.lib.errors import InputError
from stages.lib.progress import track
from stages.split import Params, read_samples, summary


@dataclass(frozen=True, order=True)
class Candidate:
    """A salt: classes that are not in every part, how far the worst other lies from its share, n by split."""

    n_rare: int
    max_share_deviation: float
    salt: int
    n_train: int
    n_val: int
    n_test: int


def candidates(samples: Samples, params: Params, tries: int) -> list[Candidate]:
    """Judge the salts 0 … tries - 1, fewest rare classes first, then shares; ties go to the smaller salt."""
    salts = track(range(tries), "salts", tries)
    found = [judge(samples, params.model_copy(update={"salt": salt})) for salt in salts]
    return sorted(candidate for candidate in found if candidate is not None)


def judge(samples: Samples, params: Params) -> Candidate | None:
    """Split with one salt; None where a class would be missing from a part."""
    placement = place_samples(
        samples.sample_ids, samples.group, samples.hint, params.salt, params.fractions[:2]
    )
    try:
        division = divide(samples, placement, params.policy)
    except InputError:
        return None
    told = summary(samples, placement, division, (), params)
    n = told["n"]
    return Candidate(
        told["rare_classes"], told["max_share_deviation"], params.salt, n["train"], n["val"], n["test"]
    )


def salt(tries: int, shown: int = 5) -> None:
    """Print the best salts for the data that `curate` wrote, and what the present one gives."""
    from rich.console import Console
    from rich.table import Table

    params = load_section(Params, "split")
    curated, duplicates = Path("data/curate"), Path("data/duplicates")
    if not (curated / "samples.parquet").exists():
        raise InputError("data/curate/samples.parquet is not there: run `dvc repro curate` first")
    samples = read_samples(curated, duplicates)
    ranked = candidates(samples, params, tries)
    if not ranked:
        raise InputError(f"none of {tries} salts gives every class a place in train, val and test")
    present = judge(samples, params)
    table = Table("split.salt", "rare classes", "worst class share off by", "train", "val", "test")
    for item in [*ranked[:shown], *([present] if present else [])]:
        name = f"{item.salt} (now)" if item is present else str(item.salt)
        counts = (str(item.n_train), str(item.n_val), str(item.n_test))
        table.add_row(name, str(item.n_rare), f"{item.max_share_deviation:.3f}", *counts)
    Console().print(table)
