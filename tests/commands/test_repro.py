"""A run of the chain is alone in its clone."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.dvc_project import ENVIRONMENT, make_dvc_project

ROOT = Path(__file__).parents[2]
SLOW = """\
import sys, time
from pathlib import Path
Path("started").touch()
while not Path("go").exists():
    time.sleep(0.05)
Path("slow.txt").write_text("done")
"""


def test_F15_a_second_run_exits_75_with_the_firsts_pid_which_ends_as_if_alone(tmp_path: Path) -> None:
    clone = make_dvc_project(tmp_path).root
    (clone / "slow.py").write_text(SLOW)
    with (clone / "dvc.yaml").open("a") as wiring:
        wiring.write("  slow:\n    cmd: python slow.py\n    deps: [slow.py]\n    outs: [slow.txt]\n")
    (clone / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    own = {"PYTHONPATH": str(ROOT), "ASSAY_STATE": str(clone / ".assay"), "ASSAY_TRACKING": "off"}
    command = [sys.executable, "-m", "stages.commands.main", "repro", "slow"]
    first = subprocess.Popen(command, cwd=clone, env=ENVIRONMENT | own, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (clone / "started").exists():
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second = subprocess.run(
        command, cwd=clone, env=ENVIRONMENT | own, capture_output=True, text=True, check=False
    )
    (clone / "go").touch()
    assert second.returncode == os.EX_TEMPFAIL
    assert f"by process {first.pid}: wait for it, or end it" in second.stderr
    assert "Traceback" not in second.stderr
    assert first.wait(60) == 0
    assert (clone / "slow.txt").read_text() == "done"
