"""What changed between two releases: data, params, code, figures on common test samples, gates."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.artifacts import read_json, read_table
from stages.lib.claims import Scored, read_scored
from stages.lib.cli import flat_values
from stages.lib.gates import shown
from stages.lib.intervals import paired_intervals
from stages.lib.metrics import top1
from stages.lib.payload import AUDIT, CLAIMS, SAMPLES, SCORED, VERDICT
from stages.lib.trusted_bundle import trusted_bundle

SHOWN = 20


def diff(old: Path, new: Path, key: Path | None) -> None:
    """Print the differences of two releases that hold what was signed."""
    import typer

    for bundle in (old, new):
        trusted_bundle(bundle, key)
    for title, lines in sections(old, new):
        typer.echo(title)
        found = list(lines)
        for line in found[:SHOWN] or ["no change"]:
            typer.echo(f"  {line}")
        if len(found) > SHOWN:
            typer.echo(f"  … and {len(found) - SHOWN} more")


def sections(old: Path, new: Path) -> Iterator[tuple[str, Iterator[str]]]:
    """Yield each part's title and lines."""
    yield "data", data_changes(samples_of(old), samples_of(new))
    audits = [read_json(bundle / AUDIT)["predicate"]["buildDefinition"] for bundle in (old, new)]
    yield "params", value_changes(*(flat_values(audit["externalParameters"]) for audit in audits))
    yield "code and inputs", value_changes(*(_digests(audit) for audit in audits))
    yield "figures", figure_changes(old, new)
    yield "gates", value_changes(*(_gates(read_json(bundle / VERDICT)) for bundle in (old, new)))


def samples_of(bundle: Path) -> dict[str, dict[str, str | None]]:
    """Return every sample's record by id."""
    return {row["sample_id"]: row for row in read_table(bundle / SAMPLES).to_pylist()}


def data_changes(
    old: Mapping[str, Mapping[str, str | None]], new: Mapping[str, Mapping[str, str | None]]
) -> Iterator[str]:
    """Yield how many samples came, went, changed their bytes, label, status or split; an example of each."""
    for word, names in (("added", new.keys() - old.keys()), ("removed", old.keys() - new.keys())):
        if names:
            yield f"{len(names)} samples {word}, such as {min(names)}"
    for column, word in (
        ("sha256", "have other bytes"),
        ("label", "relabelled"),
        ("status", "of another status"),
    ):
        yield from _changed(old, new, column, word)
    yield from _changed(old, new, "split", "in another split")


def _changed(
    old: Mapping[str, Mapping[str, str | None]],
    new: Mapping[str, Mapping[str, str | None]],
    column: str,
    word: str,
) -> Iterator[str]:
    names = sorted(name for name in old.keys() & new.keys() if old[name][column] != new[name][column])
    if names:
        first = names[0]
        yield f"{len(names)} samples {word}, such as {first}: {old[first][column]!r} → {new[first][column]!r}"


def value_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield every name whose value differs."""
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name, "absent"), new.get(name, "absent")
        if before != after:
            yield f"{name}: {before} → {after}"


def _digests(audit: Mapping[str, Any]) -> dict[str, str]:
    return {item["name"]: next(iter(item["digest"].values())) for item in audit["resolvedDependencies"]}


def _gates(verdict: Mapping[str, Any]) -> dict[str, str]:
    states = {True: "passed", False: "failed"}
    return {
        gate[
            "name"
        ]: f"{shown(gate['value'])} ({'overridden' if gate['override'] else states[gate['passed']]})"
        for gate in verdict["gates"]
    }


def figure_changes(old: Path, new: Path) -> Iterator[str]:
    """Yield both accuracies, and their paired difference on the test samples that both were scored on."""
    claims = [read_json(bundle / CLAIMS) for bundle in (old, new)]
    before, after = (claim["claims"]["test"] for claim in claims)
    for name in ("top1_accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece"):
        yield f"{name}: {before[name]:.4f} (n = {before['n']}) → {after[name]:.4f} (n = {after['n']})"
    difference = paired_difference(
        read_scored(old / SCORED), read_scored(new / SCORED), claims[1]["settings"]
    )
    if difference is None:
        yield "no test sample is in both: the figures above cannot be compared"
        return
    mean, (low, high), n = difference
    told = "which includes none" if low <= 0 <= high else "which excludes none"
    span = f"{100 * low:+.2f} to {100 * high:+.2f}"
    yield f"accuracy on {n} common test samples: {100 * mean:+.2f} points ({span}, {told})"


def paired_difference(
    old: Scored, new: Scored, settings: Mapping[str, Any]
) -> tuple[float, tuple[float, float], int] | None:
    """Return new minus old in accuracy with interval and n, each by its own labels; None without overlap."""
    rows_old = {old.sample_ids[row]: int(row) for row in old.part("test")}
    common = [
        (rows_old[new.sample_ids[row]], int(row))
        for row in new.part("test")
        if new.sample_ids[row] in rows_old
    ]
    if not common:
        return None
    before, after = (np.array(rows) for rows in zip(*common, strict=True))
    right_old = top1(old.pred_probs[before]) == old.labels[before]
    right_new = top1(new.pred_probs[after]) == new.labels[after]
    differences = (right_new.astype(float) - right_old)[:, None]
    groups = np.unique(new.groups[after], return_inverse=True)[1]
    rng = np.random.default_rng(settings["seed"])
    (interval,) = paired_intervals(
        differences, groups, settings["bootstrap_draws"], settings["confidence"], rng
    )
    return float(differences.mean()), interval, len(common)
