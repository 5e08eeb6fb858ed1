"""How large is the report of a large test set, and how soon does a browser show it?

    python -m bench.report_size [--images 10000] [--classes 10] [--side 32] [--keep FOLDER] [--axe axe.min.js]

With 10 classes the pictures are CIFAR-10's test part (../shared/data or ASSAY_SHARED_DATA), enlarged to
`--side`; with other numbers, or without that file, they are noise, the worst that compression can meet. The
findings of the earlier stages and the predictions are made up (tests/made_run.py), as many as a real run has;
2,000 more images are val and 2,000 train, and forty of test leak. Prints CPU seconds and peak memory of
`evaluate`, bytes of the page, milliseconds to its first paint and its load, its full height, what the
console said and what the page asked for; with the script of axe-core (npm) what it finds inaccessible, on a
light laptop and a dark phone.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.browser import browser
from bench.peak_memory import peak_mib
from stages import evaluate
from stages.lib.leaks import Leak, write_leaks
from tests.made_run import MadeRun, make_run

ROOT = Path(os.environ.get("ASSAY_SHARED_DATA") or "../shared/data") / "cifar10"
ASIDE = 4000
PARAMS = evaluate.Params(
    bootstrap_draws=10_000,
    confidence=0.95,
    ece_bins=15,
    seed=0,
    top_k=3,
    max_answered_error=0.02,
    min_slice_size=20,
)
PAINTED = "performance.getEntriesByType('paint').map(entry => [entry.name, Math.round(entry.startTime)])"
LOADED = "Math.round(performance.getEntriesByType('navigation')[0].loadEventEnd)"


def pixels(n: int, n_classes: int, side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, side, side, 3) uint8 and labels (N,) of the test images and those beside them."""
    path = ROOT / "test.parquet"
    if n_classes != 10 or not path.exists():
        labels = np.arange(n + ASIDE) % n_classes
        return rng.integers(0, 256, (len(labels), side, side, 3), dtype=np.uint8), labels
    import pyarrow.parquet as pq

    from bench.human_baseline import CLASSES, pixels_of

    table = pq.read_table(path, columns=["image", "label"])
    place = {name: position for position, name in enumerate(CLASSES)}
    rows = np.arange(n + ASIDE) % len(table)
    images = pixels_of(table["image"].to_pylist()).repeat(max(1, side // 32), 1).repeat(max(1, side // 32), 2)
    return images[rows], np.array([place[name] for name in table["label"].to_pylist()])[rows]


def written(root: Path, n: int, n_classes: int, side: int) -> MadeRun:
    """Write what every stage before `evaluate` leaves behind."""
    rng = np.random.default_rng(0)
    images, labels = pixels(n, n_classes, side, rng)
    split = np.array(["test"] * n + ["val"] * (ASIDE // 2) + ["train"] * (ASIDE // 2))
    run = make_run(root, [f"class {k}" for k in range(n_classes)], images, labels, split=split)
    ids = run.sample_ids
    leaks = [Leak(ids[row], "test", ids[-row - 1], "train", "near", row / 1000) for row in range(40)]
    write_leaks(root / "split" / "leaks.csv", leaks)
    return run


def main() -> None:
    """Make up, evaluate, look, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--axe", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = asked.keep or Path(folder) / "out"
        out.mkdir(exist_ok=True)
        run = written(Path(folder) / "run", asked.images, asked.classes, asked.side)
        started = time.process_time()
        evaluate.run(PARAMS, **run.folders(), out=out)
        spent = time.process_time() - started
        page = out / "report.html"
        print(
            f"{asked.images} test images, {asked.classes} classes: "
            f"evaluate {spent:.1f} CPU s, {peak_mib():.0f} MiB"
        )
        print(f"report.html {page.stat().st_size / 1e6:.2f} MB")
        for width, phone in ((1280, False), (390, True)):
            look(page, width, phone)
        if asked.axe is not None:
            for width, scheme in ((1280, "light"), (390, "dark")):
                print(f"axe-core, {width} px, {scheme}: {barriers(page, asked.axe, width, scheme)}")


def look(page: Path, width: int, phone: bool) -> None:
    """Print how soon a browser of this width shows the page."""
    with browser() as window:
        window.size(width, 800, phone)
        window.media()
        window.open(page)
        painted = ", ".join(f"{name} {at} ms" for name, at in window.run(PAINTED))
        height = window.run("document.documentElement.scrollHeight")
        over = window.run("document.documentElement.scrollWidth") - width
        told = f"{painted}, load {window.run(LOADED)} ms, {height} px high"
        print(f"{width} px wide: {told}, {max(over, 0)} px too wide; console {window.complaints()}", end="; ")
        print(f"asked for {len(window.requests()) - 1} other files")


def barriers(page: Path, axe: Path, width: int, scheme: str) -> list[str]:
    """Return what axe-core finds once every plot is drawn and every fold is open."""
    with browser() as window:
        window.size(width, 800)
        window.media(scheme=scheme)
        window.open(page)
        window.run("document.querySelectorAll('details').forEach(one => one.open = true)")
        window.run(
            "(async () => { for (let y = 0; y < document.body.scrollHeight; y += 500) {"
            " scrollTo({top: y, behavior: 'instant'});"
            " await new Promise(done => requestAnimationFrame(() => setTimeout(done, 20))); } })()"
        )
        window.run(f"{axe.read_text(encoding='utf-8')};1")
        told = "found.violations.map(one => `${one.id} (${one.nodes.length}): ${one.nodes[0].html}`)"
        return list(window.run(f"axe.run(document).then(found => {told})"))


if __name__ == "__main__":
    main()
