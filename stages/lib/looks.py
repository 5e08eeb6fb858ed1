"""How often the test set was looked at: each scoring of other predictions on the same test images is a look.

A test set wears out: whoever picks the best of many models by their test accuracy reports luck. So every look
is noted: in the state folder by `evaluate` itself, and in git by the versions of data/evaluate/metrics.json,
which name what was scored on which test set. Scoring the same predictions again is no new look. The count
starts anew when the test set is another; it knows this clone, and what was committed anywhere.
"""

import hashlib
import json
import math
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.lib.state import state_folder
from stages.lib.truth import Entry, Truth

FILE = "test_looks.jsonl"
DIGITS = 16


def describe(truth: Truth, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """Return {"digest" of the test images' names, "n", "scored": digest of all predictions of them}."""
    test = truth.split == "test"
    names = sorted(name for name, held in zip(truth.sample_ids, test.tolist(), strict=True) if held)
    scored = hashlib.sha256()
    for name in sorted(entries):
        rows = test[entries[name].positions]
        scored.update(name.encode() + entries[name].pred_probs[rows].tobytes())
    return {
        "digest": hashlib.sha256("\n".join(names).encode()).hexdigest()[:DIGITS],
        "n": len(names),
        "scored": scored.hexdigest()[:DIGITS],
    }


def note(test_set: Mapping[str, Any]) -> None:
    """Add a look to the state folder, unless it is there."""
    path = state_folder() / FILE
    if test_set["scored"] not in noted(test_set["digest"]):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"digest": test_set["digest"], "scored": test_set["scored"]}) + "\n")


def noted(digest: str) -> set[str]:
    """Return what was scored on a test set, as the state folder knows."""
    path = state_folder() / FILE
    return _of(digest, path.read_text(encoding="utf-8").splitlines()) if path.exists() else set()


def committed(digest: str, metrics: Path) -> set[str]:
    """Return what was scored on a test set, as versions of metrics.json in git know; empty without git."""
    versions = _git("log", "--all", "--format=%H", "--", str(metrics)).split()
    texts = (_git("show", f"{version}:./{metrics.as_posix()}") for version in versions)
    return _of(digest, (json.dumps(_test_set(text)) for text in texts))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def _test_set(text: str) -> Any:
    try:
        return json.loads(text).get("test_set")
    except json.JSONDecodeError:
        return None


def _of(digest: str, lines: Any) -> set[str]:
    """Return what was scored on a test set, by lines of JSON; a line that was cut off is passed over."""
    found = set()
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and record.get("digest") == digest:
            found.add(str(record["scored"]))
    return found


def sentence(n_looks: int, test_set: Mapping[str, Any], accuracy: float) -> str:
    """Return how often the test set was scored, and what picking the best by it could have flattered."""
    images = f"{test_set['n']:,} images"
    if n_looks <= 1:
        return f"The test set ({images}) was scored once since it was frozen."
    # The expected largest of k equally good models lies under sqrt(2 ln k) standard errors above their mean.
    error = math.sqrt(max(accuracy * (1 - accuracy), 1 / test_set["n"]) / test_set["n"])
    luck = 100 * error * math.sqrt(2 * math.log(n_looks))
    return (
        f"The test set ({images}) was scored {n_looks} times with other predictions since it was frozen: the "
        f"best of them, picked by test, would flatter by up to {luck:.1f} points."
    )
