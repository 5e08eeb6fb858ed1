"""Whatever write fails, a stage says which file, leaves the old one whole, and completes when run again."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from stages.lib.artifacts import write_table
from tests import failing_disk
from tests.postgres_server import NOBODY, as_somebody

ROOT = Path(__file__).parents[1]
ARGUMENTS = ["--curate", "data/curate", "--out", "data/class_balance"]
TRY_ALL = f"""\
import json, sys
from pathlib import Path
from tests.failing_disk import tried
import stages.class_balance
from stages.lib import cli

cli.start_sender = lambda: None  # it would outlive the disk's failure, and is not what is tried
error, logs = int(sys.argv[1]), Path(sys.argv[2])
def files():
    return {{str(path): path.read_bytes().hex() for path in sorted(Path("data/class_balance").rglob("*"))}}
before, found, nth = files(), [], 0
while True:
    nth += 1
    code, calls = tried("stages.class_balance", {ARGUMENTS!r}, nth, error, logs / f"{{nth}}.txt")
    found.append([nth, code, calls, (logs / f"{{nth}}.txt").read_text(), files()])
    if calls < nth:
        break
code, _ = tried("stages.class_balance", {ARGUMENTS!r}, 0, 0, logs / "again.txt")
print(json.dumps([before, found, code, files()]))
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder as `class_balance` finds it, with what it wrote when the data were others."""
    clone = tmp_path / "clone"
    for label, run in (("cat", True), ("dog", False)):
        labels = ["owl"] * 3 + [label] * 5
        write_table(
            clone / "data/curate/samples.parquet", pa.table({"label": labels, "status": ["keep"] * 8})
        )
        (clone / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        if run:
            assert stage(clone).returncode == 0
    return clone


def stage(clone: Path, *before: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    own = {"PYTHONPATH": str(ROOT), "ASSAY_STATE": str(clone / ".assay"), "ASSAY_TRACKING": "off"}
    command = [*before, sys.executable, "-m", "stages.class_balance", *ARGUMENTS]
    return subprocess.run(
        command, cwd=clone, env=os.environ | own | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(errno.ENOSPC, "no space left to write it", id="F12_ENOSPC"),
        pytest.param(errno.EIO, "the disk failed", id="F13_EIO"),
        pytest.param(errno.EDQUOT, "the user's quota is used up", id="F13_EDQUOT", marks=pytest.mark.slow),
        pytest.param(0, "short write", id="F13_short_write", marks=pytest.mark.slow),
    ],
)
def test_F12_F13_R12_a_disk_that_fails_at_any_write_loses_nothing(
    clone: Path, tmp_path: Path, error: int, told: str
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    own = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "ASSAY_STATE": str(clone / ".assay"),
        "ASSAY_TRACKING": "on",
        "LD_PRELOAD": str(failing_disk.build(tmp_path)),
    }
    command = [sys.executable, "-c", TRY_ALL, str(error), str(logs)]
    done = subprocess.run(
        command, cwd=clone, env=os.environ | own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before, found, again, after = json.loads(done.stdout)
    assert len(found) > 15, "every write of a run was tried"
    whole = {name: {before[name], after[name]} for name in after}
    for nth, code, calls, said, files in found:
        where = f"write {nth}: {said}"
        failed = calls >= nth and error != 0
        assert code == (3 if failed else 0), where
        assert "Traceback" not in said, where
        assert not failed or (told in said and ("data/class_balance/" in said or "/.assay/" in said)), where
        assert all(content in whole.get(name, set()) for name, content in files.items()), where
    assert again == 0
    assert before != after
    assert found[-1][4] == after, "the last try had no failing write"


@pytest.fixture
def closed_to() -> Iterator[Path]:
    """A folder that another user than root can work in: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="closed-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "clone"


def give(place: Path) -> None:
    """Make `place` and what is in it somebody else's than root's."""
    if os.geteuid() == 0:
        for path in (place, *place.rglob("*")):
            os.chown(path, NOBODY, NOBODY)


def close(folder: Path) -> None:
    """Take away the right to write in a folder."""
    if os.geteuid() == 0:
        os.chown(folder, 0, 0)
    folder.chmod(0o555)


@pytest.mark.parametrize(
    ("closed", "named"),
    [
        ("data/class_balance", "data/class_balance/plan.json"),
        (".assay", ".assay/locks"),
        ("data", "data/class_balance"),
    ],
)
def test_F14_a_stage_names_what_it_may_not_write_and_whose_it_is(
    clone: Path, closed_to: Path, closed: str, named: str
) -> None:
    shutil.copytree(
        clone, closed_to, ignore=shutil.ignore_patterns("class_balance" if closed == "data" else "locks")
    )
    give(closed_to)
    close(closed_to / closed)
    done = stage(closed_to, *as_somebody())
    (closed_to / closed).chmod(0o755)
    if "Permission denied" in done.stderr and "stages" in done.stderr:
        pytest.skip("the project itself is closed to other users")
    assert done.returncode == 3, done.stderr
    assert named in done.stderr
    assert f"/{closed} belongs to user {(closed_to / closed).stat().st_uid}, mode 0555" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "closed",
    [
        ".",
        "shared",
        *(
            pytest.param(folder, marks=pytest.mark.slow)
            for folder in (".dvc", ".dvc/cache/files/md5/00", "data/split")
        ),
    ],
)
def test_F14_a_run_is_refused_before_it_starts_where_it_could_not_write(closed_to: Path, closed: str) -> None:
    for folder in (".dvc/cache/files/md5/00", "shared", "data/split"):
        (closed_to / folder).mkdir(parents=True)
    if closed == "shared":
        (closed_to / ".dvc/config.local").write_text("[cache]\n    dir = ../shared\n")
    give(closed_to)
    close(closed_to / closed)
    code = (
        "from stages.commands.repro import repro\nfrom stages.lib.errors import MachineError\n"
        "try:\n    repro()\nexcept MachineError as error:\n    print(error)\n"
    )
    command = [*as_somebody(), sys.executable, "-c", code]
    own = {"PYTHONPATH": str(ROOT), "ASSAY_STATE": str(closed_to / ".assay")}
    done = subprocess.run(
        command, cwd=closed_to, env=os.environ | own, capture_output=True, text=True, check=False
    )
    (closed_to / closed).chmod(0o755)
    owner = (closed_to / closed).stat().st_uid
    assert "nothing was run: some folders are closed to this user" in done.stdout, done.stderr
    assert f"{(closed_to / closed).resolve()} belongs to user {owner}, mode 0555" in done.stdout


@pytest.mark.parametrize(
    "skew",
    [
        pytest.param("31536000", id="ahead", marks=pytest.mark.slow),
        pytest.param("-86400", id="behind", marks=pytest.mark.slow),
        pytest.param("100000j", id="jumping"),
    ],
)
def test_F20_a_wrong_clock_changes_no_byte_of_what_a_stage_writes(
    clone: Path, tmp_path: Path, skew: str
) -> None:
    shim = str(failing_disk.build(tmp_path))
    assert stage(clone).returncode == 0
    right = {path.name: path.read_bytes() for path in (clone / "data/class_balance").iterdir()}
    shutil.rmtree(clone / "data/class_balance")
    code = "import time; print(time.time())"
    told = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"LD_PRELOAD": shim, "CLOCK_SKEW": skew},
        capture_output=True,
        text=True,
        check=True,
    )
    assert abs(float(told.stdout) - time.time()) > 80_000, "the clock is wrong"
    for path in (clone / "data/curate").iterdir():
        os.utime(path, (time.time() + 1e8, time.time() + 1e8))
    done = stage(clone, LD_PRELOAD=shim, CLOCK_SKEW=skew)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in (clone / "data/class_balance").iterdir()} == right
