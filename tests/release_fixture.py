"""A released model at small size: an invented chain around two real, quickly trained networks."""

import contextlib
import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import yaml
from torch.nn import functional

from stages import evaluate, release
from stages.commands.release import release as sign_release
from stages.lib import gates
from stages.lib.artifacts import read_json, read_table, write_json, write_table
from stages.lib.claims import Settings, make_claims
from stages.lib.cli import Context
from stages.lib.journal import Journal
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.normalise import fit_normalisation, normalise
from stages.lib.overrides import Override
from stages.lib.payload import AUDIT, CLAIMS, FACTS, SIGNATURE, VERDICT, sha256_of
from stages.lib.release_records import recorded_facts, scored_samples
from stages.lib.released import Released, predict_torch
from stages.lib.rescoring import chain_of
from stages.lib.signing import PRIVATE, make_key
from stages.lib.signing import sign as sign_files
from stages.lib.truth import load_entries, load_truth
from stages.lib.weights import Card, save_weights
from tests.made_run import MadeRun, make_run, write_predicted

ROOT = Path(__file__).parents[1]
CLASSES = ("cat", "dog | <b>", "owl")
SIDE, N = 8, 400
PARAMS: dict[str, Any] = {
    "name": "three *levels* of grey",
    "license": "apache-2.0",
    "intended_use": "Tell three levels of grey apart.",
    "out_of_scope": "",
    "model": "student",
    "beats": ("dummy", "linear"),
    "student_margin": 0.1,
    "require_human": False,
    "human_margin": 0.02,
    "max_ece": 0.2,
    "min_slice_accuracy": 0.5,
    "min_slice_size": 5,
    "max_answered_error": 0.02,
    "max_latency_ms": 1000.0,
    "max_size_mb": 5.0,
}
INGEST: dict[str, Any] = {
    "image_size": SIDE,
    "fit": "pad",
    "background": (255, 255, 255),
    "max_pixels": 1_000_000,
    "min_side": 4,
    "max_aspect": 20.0,
}
SCORING: dict[str, Any] = {"bootstrap_draws": 300, "confidence": 0.95, "ece_bins": 15, "seed": 0}
MORE_SCORING: dict[str, Any] = {"top_k": 2, "max_answered_error": 0.02, "min_slice_size": 20}


@dataclass(frozen=True)
class Project:
    """A folder as a clone has it after a run: data/, params, wiring, lock, and a commit."""

    root: Path
    run: MadeRun

    @property
    def data(self) -> Path:
        """Return the stages' folders."""
        return self.root / "data"

    @property
    def payload(self) -> Path:
        """Return the unsigned release."""
        return self.data / "release" / "payload"

    @property
    def bundle(self) -> Path:
        """Return the signed release."""
        return self.data / "release" / "bundle"

    @property
    def keys(self) -> Path:
        """Return where the key lies that the release was signed with."""
        return self.root.parent / "keys"

    def git(self, *arguments: str) -> None:
        """Run git in the project."""
        author = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *author, *arguments], cwd=self.root, check=True, capture_output=True)


def make_project(root: Path) -> Project:
    """Write the project, train its networks, and let `evaluate` score them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(CLASSES), N)
    level = 40 + 80 * labels[:, None, None, None]
    pixels = np.clip(
        level + rng.normal(0, 35, (N, SIDE, SIDE, 1)) + rng.normal(0, 26, (N, 1, 1, 1)), 0, 255
    ).astype(np.uint8)
    run = make_run(root / "data", CLASSES, pixels, labels)
    _name_contents(run, pixels)
    networks = {f"seed{seed}": _trained(run, pixels, seed) for seed in (0, 1)}
    _predict(run, pixels, networks)
    out = _made(root / "data" / "evaluate")
    write_json(
        out / "metrics.json",
        evaluate.run(evaluate.Params(**SCORING, **MORE_SCORING), **run.folders(), out=out),
    )
    _wire(root)
    return Project(root, run)


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _name_contents(run: MadeRun, pixels: np.ndarray) -> None:
    digests = pa.array([hashlib.sha256(image.tobytes()).hexdigest() for image in pixels], pa.string())
    for path in (run.root / "ingest" / "manifest.parquet", run.root / "curate" / "samples.parquet"):
        write_table(path, read_table(path).append_column("sha256", digests))


def _trained(run: MadeRun, pixels: np.ndarray, seed: int) -> Classifier:
    train = np.flatnonzero(run.split == "train")
    normalisation = fit_normalisation(pixels[train])
    randomness = torch.Generator().manual_seed(seed)
    architecture = Architecture(1, SIDE, (8, 8), len(CLASSES))
    network = new_classifier(architecture, torch.zeros(len(CLASSES)), randomness)
    images = normalise(torch.from_numpy(pixels[train]).permute(0, 3, 1, 2).float() / 255, normalisation)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.02)
    for _ in range(40):
        optimiser.zero_grad()
        functional.cross_entropy(network(images), torch.from_numpy(run.labels[train])).backward()
        optimiser.step()
    card = Card("classifier", architecture, CLASSES, normalisation, {})
    places = [run.root / "train" / f"seed{seed}"] + ([run.root / "distill"] if seed == 0 else [])
    for place in places:
        save_weights(place / "model.safetensors", network.state_dict(), card)
    return network.eval()


def _predict(run: MadeRun, pixels: np.ndarray, networks: dict[str, Classifier]) -> None:
    rows = np.flatnonzero(run.split != "train")
    normalisation = fit_normalisation(pixels[run.split == "train"])
    found = {
        name: predict_torch(Released([net], normalisation), pixels[rows]) for name, net in networks.items()
    }
    found |= {"ensemble": np.mean(list(found.values()), axis=0), "student": found["seed0"]}
    shutil.rmtree(run.root / "predict" / "predictions")
    write_predicted(
        run, run.root / "baseline" / "predictions" / "linear.parquet", rows, _often_wrong(run, rows)
    )
    for name, probs in found.items():
        write_predicted(run, run.root / "predict" / "predictions" / f"{name}.parquet", rows, probs)


def _often_wrong(run: MadeRun, rows: np.ndarray) -> np.ndarray:
    """Return what a poor model says: two thirds right, so that the network beats it beyond chance."""
    said = np.where(rows % 3 == 0, (run.labels[rows] + 1) % len(CLASSES), run.labels[rows])
    return np.asarray(0.1 + 0.7 * np.eye(len(CLASSES))[said])


def _wire(root: Path) -> None:
    for name in ("dvc.yaml", "requirements.lock", ".gitignore"):
        shutil.copyfile(ROOT / name, root / name)
    (root / "params.yaml").write_text(yaml.safe_dump({"release": PARAMS | {"beats": ["dummy", "linear"]}}))
    outs = [{"path": "data/ingest/manifest.parquet", "md5": "0" * 32}]
    ingest = {"cmd": "python", "deps": [{"path": "data/raw", "md5": "1" * 32}], "outs": outs}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"ingest": ingest}}))
    (root / "data" / "review").mkdir()


def judge(project: Project, **changes: Any) -> dict[str, Any]:
    """Run the stage `release` on a project; returns its metrics."""
    data = project.data
    places = {
        name: data / name for name in ("duplicates", "curate", "validate", "split", "baseline", "preflight")
    }
    return dict(
        release.run(
            release.Params(**PARAMS | changes),
            **places,
            images=data / "ingest",
            members=data / "train",
            distill=data / "distill",
            predict=data / "predict",
            evaluation=data / "evaluate",
            review=data / "review",
            requirements=project.root / "requirements.lock",
            out=_made(data / "release"),
            ingest=release.IngestView(**INGEST),
            evaluate=release.EvaluateView(**SCORING),
            train=release.TrainView(seeds=(0, 1)),
            context=Context("release", "key", project.root / "checkpoints", Journal.silent()),
        )
    )


def regate(project: Project, overrides: Sequence[Override] = (), **changes: Any) -> dict[str, Any]:
    """Judge the student by the records at hand, with what the first run measured of its files.

    The whole stage exports to ONNX each time, five seconds of which no gate but two has need.
    """
    data = project.data
    chain = chain_of(data)
    truth = load_truth(chain.curate, chain.split, chain.duplicates)
    student = load_entries(truth, [chain.predict / "predictions"])["student"]
    assert (student.positions == np.arange(len(truth.labels))).all()
    scored = scored_samples(truth, chain, "student", student.pred_probs)
    settings = Settings(**SCORING, max_answered_error=PARAMS["max_answered_error"])
    measured = read_json(project.payload / "facts.json")["facts"]
    facts = measured | recorded_facts(chain, "student")
    bounds = release.bounds(release.Params(**PARAMS | changes))
    return gates.judge(make_claims(scored, truth.classes, settings), facts, bounds, overrides)


def commit(project: Project) -> None:
    """Make the project's first commit, of its sources and records."""
    project.git("init", "-q", "-b", "main")
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "The project")


def sign(project: Project, key: Path | None = None) -> None:
    """Sign the project's payload, as `assay release` does from its root."""
    with contextlib.chdir(project.root):
        sign_release(key)


def make_signed(root: Path) -> Project:
    """Make a project below `root`, let its gates judge it, commit it and sign."""
    project = make_project(_made(root / "project"))
    judge(project)
    commit(project)
    make_key(root / "keys")
    sign(project, root / "keys" / PRIVATE)
    return project


def sign_again(bundle: Path, private: Path) -> None:
    """Sign what is in a bundle now, whatever it claims."""
    (bundle / SIGNATURE).unlink()
    place = bundle.with_name(f"{bundle.name}.{SIGNATURE}")
    sign_files(bundle, private, place)
    place.rename(bundle / SIGNATURE)


def restate(bundle: Path) -> None:
    """Bring audit.json in step with the bundle's files, as a careful forger would."""
    audit = read_json(bundle / AUDIT)
    for subject in audit["subject"]:
        subject["digest"]["sha256"] = sha256_of(bundle / subject["name"])
    audit["predicate"]["claims"] = read_json(bundle / CLAIMS)["claims"]
    audit["predicate"]["facts"] = read_json(bundle / FACTS)["facts"]
    audit["predicate"]["verdict"] = read_json(bundle / VERDICT)
    write_json(bundle / AUDIT, audit)


def copy_project(project: Project, root: Path) -> Project:
    """Copy a project with its keys, to change the copy."""
    shutil.copytree(project.root, root, dirs_exist_ok=True)
    shutil.copytree(project.keys, root.parent / "keys", dirs_exist_ok=True)
    return Project(root, MadeRun(root / "data", *list(vars(project.run).values())[1:]))
