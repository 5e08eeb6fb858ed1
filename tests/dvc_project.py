"""A small DVC project with a remote folder: two stages, one of which writes a folder and a metric."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DVC_YAML = """\
stages:
  one:
    cmd: python make.py one
    deps: [make.py, one.txt]
    outs: [data/one/rows.csv, data/one/pages]
    metrics:
      - data/one/metrics.json: {cache: false}
  two:
    cmd: python make.py two
    deps: [make.py, two.txt, data/one/rows.csv]
    outs: [data/two/table.csv]
"""

MAKE = """\
import sys
from pathlib import Path

out = Path("data", sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
if sys.argv[1] == "one":
    (out / "rows.csv").write_text(Path("one.txt").read_text() * 50)
    (out / "pages" / "deep").mkdir(parents=True, exist_ok=True)
    (out / "pages" / "index.html").write_text("<p>page</p>")
    (out / "pages" / "deep" / "style.css").write_text("p {}")
    (out / "metrics.json").write_text('{"n": 50}')
else:
    (out / "table.csv").write_text(Path("data/one/rows.csv").read_text() + Path("two.txt").read_text())
"""

BIN = Path(sys.executable).parent
ENVIRONMENT = os.environ | {
    "PATH": f"{BIN}:{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "1",
    "GIT_AUTHOR_NAME": "T",
    "GIT_AUTHOR_EMAIL": "t@example.org",
    "GIT_COMMITTER_NAME": "T",
    "GIT_COMMITTER_EMAIL": "t@example.org",
}


@dataclass(frozen=True)
class DvcProject:
    """A clone and the folder that is its remote."""

    root: Path
    remote: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone."""
        return subprocess.run(
            command, cwd=self.root, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )

    def must(self, *command: str) -> None:
        """Run a command that has to end well."""
        done = self.run(*command)
        assert done.returncode == 0, done.stderr

    def object_path(self, oid: str, *, remote: bool = False) -> Path:
        """Return where an object lies in cache or remote."""
        base = self.remote if remote else self.root / ".dvc" / "cache"
        return base / "files" / "md5" / oid[:2] / oid[2:]


def make_dvc_project(place: Path) -> DvcProject:
    """Run the two stages, commit, and push."""
    project = DvcProject(place / "clone", place / "remote")
    project.root.mkdir(parents=True)
    (project.root / "dvc.yaml").write_text(DVC_YAML)
    (project.root / "make.py").write_text(MAKE)
    (project.root / "one.txt").write_text("a,b\n")
    (project.root / "two.txt").write_text("end\n")
    project.must("git", "init", "-q", "-b", "main")
    project.must("dvc", "init", "-q")
    project.must("dvc", "config", "core.analytics", "false")
    project.must("dvc", "remote", "add", "-q", "-d", "team", "../remote")
    project.must("dvc", "repro", "-q")
    project.must("git", "add", "-A")
    project.must("git", "commit", "-q", "-m", "Run")
    project.must("dvc", "push", "-q")
    return project


def colleague_of(project: DvcProject, name: str = "colleague") -> DvcProject:
    """Clone a project where nothing has been pulled."""
    place = project.root.parent / name
    project.must("git", "clone", "-q", str(project.root), str(place))
    return DvcProject(place, project.remote)


def copy_dvc_project(project: DvcProject, place: Path) -> DvcProject:
    """Copy clone and remote, to change them."""
    shutil.copytree(project.root.parent, place, symlinks=True)
    return DvcProject(place / "clone", place / "remote")
