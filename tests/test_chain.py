"""The whole chain, really run by DVC, on folders of small pictures with hostile names."""

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stages.lib.artifacts import read_csv, read_json
from stages.lib.chain import STAGES
from stages.lib.provenance import key_of_lock_entry
from tests.chain import TINY, Chain
from tests.folder_fixture import write_class_folders

CLASSES = {"caf\u00e9 au lait": 24, "<script>alert(1)": 24, 'it\'s "quoted"': 24, "\u732b": 24}
"""Spaces, markup, quotes, and letters of another script: a class name is any text."""

SEEDS = (0, 1)
EVERY_STAGE = [*(stage for stage in STAGES if stage != "train"), *(f"train@{seed}" for seed in SEEDS)]


def prepare(root: Path, tracking: bool = False) -> Chain:
    chain = Chain.clone(root, tracking)
    (root / "dvc.lock").unlink(missing_ok=True)
    write_class_folders(root / "data/raw/pictures", CLASSES)
    (root / "data/raw/pictures" / next(iter(CLASSES)) / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    chain.set_params(**TINY)
    chain.commit("Own pictures")
    return chain


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    chain = prepare(tmp_path_factory.mktemp("one") / "clone", tracking=True)
    assert sorted(chain.repro()) == sorted(EVERY_STAGE)
    chain.commit("First results")
    return chain


def run_names(chain: Chain) -> list[str]:
    with sqlite3.connect(chain.root / "mlflow.db") as database:
        rows = database.execute("select value from tags where key = 'assay.stage'").fetchall()
    database.close()
    return sorted(row[0] for row in rows)


def test_every_prediction_has_a_test_accuracy_with_an_interval_and_n(tiny: Chain) -> None:
    metrics = read_json(tiny.root / "data/evaluate/metrics.json")
    wanted = {"dummy", "linear", "seed0", "seed0_tta", "ensemble", "ensemble_tta", "student", "student_tta"}
    assert wanted <= set(metrics["test"])
    for scores in metrics["test"].values():
        low, high = scores["top1_accuracy_ci"]
        assert 0 <= low <= scores["top1_accuracy"] <= high <= 1
        assert scores["n"] > 0


def test_a_bad_file_is_quarantined_with_its_reason_and_the_chain_goes_on(tiny: Chain) -> None:
    (row,) = read_csv(tiny.root / "data/ingest/quarantine.csv")
    assert row["file"].endswith("cut.jpg")
    assert row["reason"] in {"truncated", "not_an_image"}


def test_class_names_stay_as_they_are_and_are_inert_in_the_report(tiny: Chain) -> None:
    assert sorted(read_json(tiny.root / "data/split/classes.json")) == sorted(CLASSES)
    report = (tiny.root / "data/evaluate/report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in report
    assert "&lt;script&gt;alert(1)" in report


def test_nothing_is_written_outside_declared_outputs_and_ignored_folders(tiny: Chain) -> None:
    assert tiny.git("status", "--porcelain").strip() == ""
    for folder in (path for path in (tiny.root / "data").iterdir() if path.name not in {"raw", "review"}):
        strays = [
            path for path in folder.rglob("*") if path.name.startswith(".") and path.name != ".gitignore"
        ]
        assert strays == [], folder


def test_each_executed_stage_has_one_run_that_the_lock_file_leads_to_and_back(tiny: Chain) -> None:
    assert run_names(tiny) == sorted([*EVERY_STAGE, "pipeline"])
    with sqlite3.connect(tiny.root / "mlflow.db") as database:
        query = "select value from tags where key = 'assay.stage_key'"
        tracked = {row[0] for row in database.execute(query)}
    database.close()
    locked = {key_of_lock_entry(entry) for entry in tiny.lock().values()}
    assert len(locked) == len(EVERY_STAGE)
    assert locked <= tracked
    shown = tiny.run("assay", "runs", environment={"COLUMNS": "200"})
    assert shown.returncode == 0
    assert all(key in shown.stdout for key in locked)
    assert "none on this tracker" not in shown.stdout


def test_run_again_with_nothing_changed_no_stage_runs_and_no_run_is_added(tiny: Chain) -> None:
    before = run_names(tiny)
    assert tiny.repro() == []
    assert run_names(tiny) == before


@pytest.mark.slow
def test_two_clones_hold_the_same_lock_file(tiny: Chain, tmp_path: Path) -> None:
    other = prepare(tmp_path / "elsewhere" / "deeper" / "clone")
    other_environment = {"LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    previous = os.umask(0o077)
    done = other.run("assay", "repro", environment=other_environment)
    os.umask(previous)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (other.root / "dvc.lock").read_bytes() == (tiny.root / "dvc.lock").read_bytes()


@contextmanager
def changed(chain: Chain, section: str, values: dict[str, object]) -> Iterator[None]:
    """Change params for a while; afterwards params, lock file and outputs are as before."""
    files = [chain.root / name for name in ("params.yaml", "dvc.lock")]
    before = [file.read_bytes() for file in files]
    chain.set_params(**{section: values})
    try:
        yield
    finally:
        for file, content in zip(files, before, strict=True):
            file.write_bytes(content)
        assert chain.run("dvc", "checkout", "--quiet").returncode == 0
        chain.git("checkout", "--quiet", "--", "data")


@pytest.mark.parametrize(
    ("section", "values", "first", "downstream"),
    [
        ("evaluate", {"bootstrap_draws": 300}, "evaluate", {"release"}),
        ("distill", {"temperature": 3.0}, "distill", {"predict", "evaluate", "release"}),
        ("baseline", {"linear_max_iter": 2000}, "baseline", {"evaluate", "release"}),
    ],
)
def test_one_changed_key_reruns_exactly_its_stage_and_what_depends_on_it(
    tiny: Chain, section: str, values: dict[str, object], first: str, downstream: set[str]
) -> None:
    before = Counter(run_names(tiny))
    with changed(tiny, section, values):
        executed = tiny.repro()
        added = Counter(run_names(tiny)) - before
    assert executed[0] == first
    assert set(executed[1:]) <= downstream, "a stage whose inputs came out equal may be skipped"
    assert added == Counter([*executed, "pipeline"])


def test_a_new_seed_trains_only_that_seed_and_a_removed_one_leaves_the_workspace(tiny: Chain) -> None:
    with changed(tiny, "train", {"seeds": [0, 1, 5]}):
        assert tiny.repro() == ["train@5", "ablate", "distill", "predict", "evaluate", "release"]
    assert tiny.repro() == []
    assert not (tiny.root / "data/train/seed5").exists()


def test_dvc_shows_metrics_params_and_plots(tiny: Chain) -> None:
    for command in (["metrics", "show"], ["metrics", "diff"], ["params", "diff"]):
        done = tiny.run("dvc", *command)
        assert done.returncode == 0, done.stderr
    plots = tiny.run("dvc", "plots", "show", "--out", str(tiny.root / ".assay/plots"))
    assert plots.returncode == 0, plots.stderr


def test_an_experiment_runs_and_is_shown(tiny: Chain) -> None:
    tiny.git("config", "user.name", "Test")
    tiny.git("config", "user.email", "test@example.org")
    done = tiny.run("dvc", "exp", "run", "--name", "more-draws", "-S", "evaluate.bootstrap_draws=400")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "more-draws" in tiny.run("dvc", "exp", "show", "--csv").stdout
    tiny.git("checkout", "--quiet", "--", ".")
    assert tiny.run("dvc", "checkout", "--quiet").returncode == 0
    assert tiny.repro() == []


def test_a_wrong_param_stops_before_any_stage(tiny: Chain) -> None:
    with changed(tiny, "train", {"learing_rate": 1}):
        done = tiny.run("assay", "repro")
    assert done.returncode == 2
    assert "train.learing_rate: unknown key; did you mean" in done.stderr
    assert "Running stage" not in done.stdout
