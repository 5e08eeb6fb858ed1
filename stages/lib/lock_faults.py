"""What is wrong with dvc.lock itself: cut off, in conflict, or silent about what dvc.yaml declares.

DVC takes any prefix that is YAML for the whole (382 of 595 prefixes of one lock were, measured on 3.67), and
then calls "changed" what was only lost. The file ends with a line end and every entry is complete, or it was
not written whole.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

MARKERS = re.compile(rb"^(<{7} |={7}$|>{7} |\|{7} )", re.MULTILINE)
DIGEST = re.compile(r"[0-9a-f]{32}(\.dir)?")


def in_conflict(path: Path) -> bool:
    """Say whether a file holds the marks of an unfinished merge."""
    try:
        return len(set(MARKERS.findall(path.read_bytes()))) >= 3
    except (FileNotFoundError, IsADirectoryError):
        return False


def lock_faults(lock: Path, declared: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what is wrong with the lock, given dvc.yaml's stages by name; no lock is no fault."""
    try:
        content = lock.read_bytes()
    except FileNotFoundError:
        return []
    if not content.endswith(b"\n"):
        return ["it does not end with a line end: it was cut off"]
    try:
        whole = yaml.load(content, yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return [f"it is no YAML ({str(error).splitlines()[0]})"]
    stages = whole.get("stages") if isinstance(whole, dict) and whole.get("schema") == "2.0" else None
    if not isinstance(stages, dict):
        return ["it has no schema 2.0 with stages: it was cut off, or is no lock file"]
    faults = [f"stage {name}: {fault}" for name, entry in stages.items() for fault in _entry_faults(entry)]
    return faults + list(_silent_about(stages, declared))


def _entry_faults(entry: object) -> Iterator[str]:
    if not isinstance(entry, dict) or not isinstance(entry.get("cmd"), str | list):
        yield "no command"
        return
    for kind in ("deps", "outs"):
        for item in entry.get(kind) or []:
            path = item.get("path") if isinstance(item, dict) else None
            if not isinstance(path, str):
                yield f"an entry of {kind} without a path"
            elif not DIGEST.fullmatch(str(item.get("md5", ""))):
                yield f"{path} without a whole digest"
            elif not isinstance(item.get("size"), int):
                yield f"{path} without a size"
            elif item["md5"].endswith(".dir") and not isinstance(item.get("nfiles"), int):
                yield f"{path} without its number of files"


def _silent_about(stages: Mapping[str, Any], declared: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, stage in declared.items():
        entries = [entry for key, entry in stages.items() if key.split("@")[0] == name]
        if not entries:
            yield f"stage {name} is not in it: it never ran here, or the file was cut off"
        for entry in entries:
            if not isinstance(entry, dict):
                continue
            known = {item.get("path") for item in entry.get("outs") or [] if isinstance(item, dict)}
            lost = len(declared_outs(stage)) - len(known)
            if lost > 0:
                yield f"stage {name}: {lost} output(s) of dvc.yaml are not in it"


def declared_outs(stage: Mapping[str, Any]) -> list[str]:
    """Return the paths of a stage's outputs as dvc.yaml names them."""
    body = stage.get("do", stage)
    found = []
    for kind in ("outs", "metrics", "plots"):
        for item in body.get(kind) or []:
            found.append(next(iter(item)) if isinstance(item, dict) else item)
    return found
