"""How accurate are network, ensemble and student on digits, whatever the split? The chain on several splits.

    python -m bench.digits_accuracy [--salts 338 1 2 3 4] [--params params.yaml]

Runs every stage's own `run` from ingest to predict, in this process and in temporary folders: the stages
before `curate` once, the rest once per split salt. Prints the mean and standard deviation over splits of test
top-1 accuracy, its val twin, and CPU seconds per stage (imports excluded). Test is only reported: every
choice of the recipe was made on val.
"""

import argparse
import importlib
import inspect
import tempfile
import time
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.artifacts import write_json
from stages.lib.cli import Context
from stages.lib.config import Section, load_section, load_view
from stages.lib.dataset import load_dataset
from stages.lib.journal import Journal
from stages.lib.predictions import read_predictions
from stages.lib.yaml_file import read_yaml

BEFORE_SPLIT = ("ingest", "embed", "duplicates", "label_noise")
AFTER_SPLIT = (
    "curate",
    "class_balance",
    "validate",
    "split",
    "preflight",
    "pretrain",
    "train",
    "distill",
    "predict",
)
ROOT = Path(__file__).parent.parent
Seconds = dict[str, list[float]]


def run_stage(stage: str, data: Path, params: Path, seconds: Seconds, seed: int | None = None) -> None:
    """Run one stage as its command line would, from and to the folders under `data`."""
    module = importlib.import_module(f"stages.{stage}")
    hints = typing.get_type_hints(module.run)
    out = data / stage if seed is None else data / stage / f"seed{seed}"
    places = {"out": out, "members": data / "train", "raw": ROOT / "data/raw", "review": ROOT / "data/review"}
    given: dict[str, Any] = {}
    for item in inspect.signature(module.run).parameters.values():
        kind = hints[item.name]
        if item.kind is not item.KEYWORD_ONLY:
            continue
        if kind is Path:
            given[item.name] = places.get(item.name, data / item.name)
        elif kind is int:
            given[item.name] = seed
        elif kind is Context:
            given[item.name] = Context(stage, "bench", data / "checkpoints" / stage, Journal.silent())
        elif issubclass(kind, Section):
            given[item.name] = load_view(kind, item.name, params)
    out.mkdir(parents=True, exist_ok=True)
    started = time.process_time()
    write_json(out / "metrics.json", module.run(load_section(module.Params, stage, params), **given))
    seconds.setdefault(stage, []).append(time.process_time() - started)


def with_salt(params: Path, salt: int, to: Path) -> Path:
    """Copy the params with another split salt."""
    import yaml

    values = read_yaml(params)
    values["split"]["salt"] = salt
    to.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return to


def accuracies(data: Path) -> dict[str, dict[str, float]]:
    """Return top-1 accuracy by split part and prediction name; members are averaged under `single`."""
    dataset = load_dataset(data / "ingest", data / "curate", data / "split")
    label = dict(zip(dataset.sample_ids, dataset.labels.tolist(), strict=True))
    found: dict[str, dict[str, list[float]]] = {"val": {}, "test": {}}
    for path in sorted((data / "predict/predictions").glob("*.parquet")):
        predictions = read_predictions(path)
        truth = np.array([label[name] for name in predictions.sample_ids])
        right = predictions.pred_probs.argmax(1) == truth
        name = (
            "single" + path.stem.removeprefix(path.stem.split("_")[0])
            if path.stem.startswith("seed")
            else path.stem
        )
        for part, by_name in found.items():
            inside = np.array(predictions.split) == part
            by_name.setdefault(name, []).append(int(right[inside].sum()) / int(inside.sum()))
    return {part: {name: sum(v) / len(v) for name, v in by_name.items()} for part, by_name in found.items()}


def measure(
    salts: Sequence[int], params: Path, root: Path
) -> tuple[list[dict[str, dict[str, float]]], Seconds]:
    """Run the chain once per salt; return each split's accuracies and the CPU seconds by stage."""
    seconds: Seconds = {}
    for stage in BEFORE_SPLIT:
        run_stage(stage, root, params, seconds)
    rows = []
    for salt in salts:
        own = with_salt(params, salt, root / "params.yaml")
        for stage in AFTER_SPLIT:
            seeds = read_yaml(own)["train"]["seeds"] if stage == "train" else [None]
            for seed in seeds:
                run_stage(stage, root, own, seconds, seed)
        rows.append(accuracies(root))
    return rows, seconds


def report(rows: list[dict[str, dict[str, float]]], seconds: Seconds) -> None:
    """Print the two tables."""
    print(f"{'name':<14}{'test mean':>10}{'sd':>9}{'min':>9}{'val mean':>10}   n = {len(rows)} splits")
    for name in sorted(rows[0]["test"]):
        test = np.array([row["test"][name] for row in rows])
        val = np.array([row["val"][name] for row in rows])
        spread = test.std(ddof=1) if len(test) > 1 else 0.0
        print(f"{name:<14}{test.mean():>10.4f}{spread:>9.4f}{test.min():>9.4f}{val.mean():>10.4f}")
    for stage, each in seconds.items():
        print(f"{stage:<14}{np.mean(each):>8.1f} CPU s (mean of {len(each)})")


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--salts", type=int, nargs="+", default=[338, 1, 2, 3, 4])
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report(*measure(options.salts, options.params, Path(folder)))


if __name__ == "__main__":
    main()
