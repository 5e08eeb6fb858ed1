"""What does validating 60,000 images cost, as a ratio to cleanvision and cleanlab on the same images?

    python -m bench.peer_validation FOLDER --make-peers [--rows 60000] [--network] [--no-datalab]
    python -m bench.peer_validation FOLDER --peer-python PATH …

FOLDER is an empty or earlier one outside the project; it ends up with some hundred megabytes. CIFAR-10's
50,000 training rows (the label is annotator_1's, 17 % wrong) and 10,000 test rows of the shared data
(ASSAY_SHARED_DATA, or ../shared/data) become one table, and `ingest` takes it in, with params.yaml's params
(not counted: the peers are not asked to refuse anything). Then the stages from `embed` to `split` run as
dvc.yaml runs them, each a process, and after them the peers of bench/peers.py.

Peers live in a virtual environment of their own, because cleanvision is no dependency of this project:
--make-peers makes FOLDER/peers. They are given the embedding of `embed`, so no time of theirs goes into
features. Counted are CPU seconds (user + system, children included) of whole processes, imports too; all
run with the threads that the stages pin. --network runs `label_noise` once more with small networks, and
gives that ratio apart. The first ratio is to cleanvision and label issues; the second adds Datalab, whose
other issues (outliers, near duplicates, class imbalance, …) overlap with what the stages find.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from stages.lib.artifacts import read_npy, read_table, write_npy
from stages.lib.threads import THREADS

ROOT = Path(__file__).parents[1]
STAGES = ("embed", "duplicates", "label_noise", "curate", "class_balance", "validate", "split")
PEERS = ("cleanvision==0.3.7", "cleanlab[datalab]==2.9.0", "scikit-learn==1.9.1")
INGEST = {
    "source": "table",
    "path": "data/raw/cifar10.parquet",
    "image": "image",
    "label": "label",
    "id": "id",
    "image_size": "32",
}


@dataclass(frozen=True)
class Cost:
    """One process: CPU seconds and wall seconds with children, peak MiB of the largest process."""

    cpu: float
    wall: float
    peak: float
    said: str


def run(name: str, command: Sequence[str], folder: Path) -> Cost:
    """Run one command in the folder to its end, print its cost; SystemExit with its words where it fails."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(THREADS))
    own = {"PYTHONPATH": str(ROOT), "ASSAY_TRACKING": "off", "ASSAY_STATE": str(folder / ".assay")}
    started = time.perf_counter()
    log = folder / f"{name}.log"
    with log.open("w") as file:
        environment = os.environ | single | own
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text()
    if process.returncode:
        raise SystemExit(f"{name} failed ({process.returncode}):\n{text[-3000:]}")
    found = next((line[7:] for line in text.splitlines() if line.startswith("found: ")), "")
    wall = time.perf_counter() - started
    cost = Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024, found)
    print(f"{name:22} {cost.cpu:8.1f} {cost.wall:8.1f} {cost.peak:9.0f}  {cost.said}", flush=True)
    return cost


def write_inputs(folder: Path, n_rows: int) -> None:
    """Write the table and the params, and the images as files for cleanvision."""
    (folder / "data/raw").mkdir(parents=True, exist_ok=True)
    (folder / "data/review").mkdir(exist_ok=True)
    table = pa.concat_tables(_parts()).slice(0, n_rows)
    pq.write_table(table, folder / INGEST["path"], row_group_size=2000)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for key, value in INGEST.items():
        text = re.sub(rf"(?m)^  {key}: .*$", f"  {key}: {value}", text, count=1)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    (folder / "network.yaml").write_text(text.replace("  model: linear", "  model: network"), "utf-8")
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for name, image in zip(table["id"].to_pylist(), table["image"].to_pylist(), strict=True):
        (images / f"{name}.jpg").write_bytes(image["bytes"])


def _parts() -> Iterator[pa.Table]:
    """Yield training and test rows as id, image, label; the truth columns are left where they are."""
    root = Path(os.environ.get("ASSAY_SHARED_DATA") or "../shared/data") / "cifar10"
    for part, label in (("train", "annotator_1"), ("test", "label")):
        table = pq.read_table(root / f"{part}.parquet", columns=["id", "image", label])
        names = pa.array([f"{part}{number:05}" for number in table["id"].to_pylist()])
        yield pa.table({"id": names, "image": table["image"], "label": table[label].cast(pa.string())})


def commands() -> dict[str, list[str]]:
    """Return the command line of each stage, as dvc.yaml has it."""
    chain = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {name: [sys.executable, *shlex.split(chain[name]["cmd"])[1:]] for name in ("ingest", *STAGES)}


def make_peers(folder: Path) -> Path:
    """Make the peers' environment, if it is not there, and return its interpreter."""
    python = folder / "peers/bin/python"
    if not python.exists():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "-q", str(folder / "peers")], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", str(python), *PEERS], check=True)
    return python


def write_peer_inputs(folder: Path) -> None:
    """Hand the peers the embedding and the labels as numbers."""
    labels = read_table(folder / "data/ingest/manifest.parquet", ["label"])["label"].to_pylist()
    classes = sorted(set(labels))
    (folder / "peer").mkdir(exist_ok=True)
    write_npy(folder / "peer/labels.npy", np.array([classes.index(label) for label in labels], np.int64))
    write_npy(folder / "peer/features.npy", read_npy(folder / "data/embed/embeddings.npy"))


def ours(folder: Path, network: bool) -> tuple[float, float]:
    """Run the stages; return CPU seconds in all, with the linear model and with networks (0: not asked)."""
    lines = commands()
    run("ingest (not counted)", lines["ingest"], folder)
    costs = {name: run(name, lines[name], folder).cpu for name in STAGES}
    total = sum(costs.values())
    if not network:
        return total, 0.0
    line = [*lines["label_noise"][:-1], "data/label_noise_network", "--params", "network.yaml"]
    return total, total - costs["label_noise"] + run("label_noise, networks", line, folder).cpu


def peers(folder: Path, python: Path, with_datalab: bool) -> tuple[float, float]:
    """Run the peers; return CPU seconds of cleanvision and label issues, and with Datalab (0: not asked)."""
    write_peer_inputs(folder)
    script = str(ROOT / "bench/peers.py")
    lean = sum(
        run(f"peer: {what}", [str(python), script, what, where], folder).cpu
        for what, where in (("cleanvision", "images"), ("labels", "peer"))
    )
    if not with_datalab:
        return lean, 0.0
    return lean, lean + run("peer: datalab", [str(python), script, "datalab", "peer"], folder).cpu


def main() -> None:
    """Run both sides, print every process's cost and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--make-peers", action="store_true")
    parser.add_argument("--network", action="store_true")
    parser.add_argument("--no-datalab", action="store_true")
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    if folder.is_relative_to(ROOT):
        parser.error("FOLDER must lie outside the project: the data's licence keeps it out")
    write_inputs(folder, asked.rows)
    python = make_peers(folder) if asked.make_peers else asked.peer_python
    print(f"n = {asked.rows}, {THREADS} threads\n{'process':22} {'CPU s':>8} {'wall s':>8} {'peak MiB':>9}")
    linear, network = ours(folder, asked.network)
    print(f"ours: {linear:.1f} CPU s" + (f", with networks {network:.1f}" if network else ""))
    if python is None:
        return
    lean, full = peers(folder, python, not asked.no_datalab)
    print(f"peers: {lean:.1f} CPU s" + (f", with Datalab {full:.1f}" if full else ""))
    for name, own in (("", linear), (" with networks", network)):
        if own:
            more = f", {own / full:.2f} with Datalab" if full else ""
            print(f"ratio{name}: {own / lean:.2f} to cleanvision and label issues{more}")


if __name__ == "__main__":
    main()
