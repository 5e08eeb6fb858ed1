"""Refuse what would fail later: every section of params.yaml, and files under data/raw that DVC cannot hash.

It runs before the chain, in under two seconds, and lists all faults at once. A FIFO would make DVC wait for
ever and a name that is not UTF-8 ends it with a traceback (both seen on DVC 3.67), so they are named here.
"""

import importlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.lib.chain import SECTIONS, STAGES
from stages.lib.config import PARAMS_FILE, Section, nearest, parse_section, read_params
from stages.lib.errors import InputError
from stages.lib.ingredients import Added, added_faults
from stages.lib.lock_faults import in_conflict
from stages.lib.provenance import DVC_FILE, LOCK_FILE
from stages.lib.tune_params import TUNE
from stages.lib.tune_params import Params as Tune

RAW = Path("data/raw")
SHOWN = 20
"""Faulty files named in one message."""


def check(params_file: Path = PARAMS_FILE, raw_folder: Path = RAW) -> None:
    """Raise one InputError: of an unfinished merge, or every fault of the params, or of the raw folder."""
    merging = [str(path) for path in (params_file, DVC_FILE, LOCK_FILE) if in_conflict(path)]
    if merging:
        raise InputError(
            f"{', '.join(merging)}: marks of an unfinished merge; resolve them (`assay doctor` says how), "
            "then `make repro`"
        )
    faults = param_faults(read_params(params_file))
    if faults:
        raise InputError(f"{params_file} has {len(faults)} fault(s); nothing was run\n" + "\n".join(faults))
    unhashable = list(unhashable_files(raw_folder))
    if unhashable:
        raise InputError(_raw_message(raw_folder, unhashable))


def param_faults(raw: Mapping[str, Any]) -> list[str]:
    """Return one line per fault over all sections, in run order."""
    unknown = [
        f"  {name}: unknown section{nearest(name, list(SECTIONS))}" for name in raw if name not in SECTIONS
    ]
    faults = [fault for stage in STAGES for fault in parse_section(_model(stage), stage, raw)[1]]
    # Whether the space of `tune` fits train is asked by `assay tune`: the chain must not stop for a search.
    return unknown + faults + ablate_faults(raw, _model("train")) + parse_section(Tune, TUNE, raw)[1]


def ablate_faults(raw: Mapping[str, Any], train: type[Section]) -> list[str]:
    """Return one line per ingredient of ablate that train, in order itself, would refuse."""
    params, section = parse_section(_model("ablate"), "ablate", raw)[0], parse_section(train, "train", raw)[0]
    if params is None or section is None:
        return []
    added = [one for one in params.model_dump()["ingredients"] if isinstance(one, dict)]
    ingredients = [Added(**one) for one in added]
    return added_faults(raw["train"], ingredients, train, in_order=raw["ablate"]["adding"] == "in_order")


def _model(stage: str) -> type[Section]:
    model: type[Section] = importlib.import_module(f"stages.{stage}").Params
    return model


def unhashable_files(folder: Path) -> Iterator[str]:
    """Yield a line for each entry below `folder` that DVC cannot hash; links are not followed."""
    for place, folders, files in os.walk(os.fsencode(folder)):
        for name in sorted(folders + files):
            if problem := _problem(os.path.join(place, name)):  # noqa: PTH118 (names may be no text at all)
                yield f"  {os.path.join(place, name)!r}: {problem}"  # noqa: PTH118


def _problem(path: bytes) -> str:
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return "the name is not UTF-8"
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return "a link that leads nowhere" if not os.path.exists(path) else ""  # noqa: PTH110
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "neither a file nor a folder"


def _raw_message(folder: Path, lines: list[str]) -> str:
    more = f"\n  … and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    named = "\n".join(lines[:SHOWN]) + more
    return f"{folder} holds {len(lines)} entries that DVC cannot hash; rename or remove them\n{named}"
