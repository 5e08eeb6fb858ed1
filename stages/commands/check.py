"""Refuse what would fail later: every section of params.yaml, and files under data/raw that DVC cannot hash.

It runs before the chain and lists all faults at once, in under two seconds; where a net of timm or a
teacher's file is named, these have to be asked, in ten. A FIFO would make DVC wait for ever and a name that
is not UTF-8 ends it with a traceback (both seen on DVC 3.67), so they are named here.
"""

import importlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages import ablate, distill, ingest, label_noise, train
from stages.commands.check_training import (
    Recipe,
    distill_faults,
    label_noise_faults,
    recipe_faults,
    searched_networks,
    train_faults,
)
from stages.lib.chain import SECTIONS, STAGES
from stages.lib.config import PARAMS_FILE, Section, parse_section, read_params
from stages.lib.errors import InputError
from stages.lib.lock_faults import in_conflict
from stages.lib.near_words import nearest
from stages.lib.provenance import DVC_FILE, LOCK_FILE
from stages.lib.tune_params import TUNE, tune_faults
from stages.lib.tune_params import Params as Tune

RAW = Path("data/raw")
SHOWN = 20
"""Faulty files named in one message."""


def check(params_file: Path = PARAMS_FILE, raw_folder: Path = RAW, *, searching: bool = False) -> None:
    """Raise one InputError: of an unfinished merge, or every fault of the params, or of the raw folder.

    searching: ask also whether tune's space fits train, for which the chain must not stop.
    """
    merging = [str(path) for path in (params_file, DVC_FILE, LOCK_FILE) if in_conflict(path)]
    if merging:
        raise InputError(
            f"{', '.join(merging)}: marks of an unfinished merge; resolve them (`assay doctor` says how), "
            "then `make repro`"
        )
    faults = param_faults(read_params(params_file), searching=searching)
    if faults:
        raise InputError(f"{params_file} has {len(faults)} fault(s); nothing was run\n" + "\n".join(faults))
    unhashable = list(unhashable_files(raw_folder))
    if unhashable:
        raise InputError(_raw_message(raw_folder, unhashable))


def param_faults(raw: Mapping[str, Any], *, searching: bool = False) -> list[str]:
    """Return one line per fault of each section in run order, then of sections that do not go together."""
    unknown = [
        f"  {name}: unknown section{nearest(name, list(SECTIONS))}" for name in raw if name not in SECTIONS
    ]
    faults = [fault for stage in STAGES for fault in parse_section(_model(stage), stage, raw)[1]]
    search = parse_section(Tune, TUNE, raw)[0]
    tuning = tune_faults(raw, train.Params) if searching else parse_section(Tune, TUNE, raw)[1]
    networks = searched_networks(search.space) if search is not None and searching and not tuning else []
    return list(dict.fromkeys(unknown + faults + tuning + together_faults(raw, networks)))


def together_faults(raw: Mapping[str, Any], searched: Sequence[Recipe] = ()) -> list[str]:
    """Return one line per fault of sections that are in order themselves, held against each other.

    searched: what tune may change of train, which is held against the images, too.
    """
    images = parse_section(ingest.Params, "ingest", raw)[0]
    noise = parse_section(label_noise.Params, "label_noise", raw)[0]
    teachers = parse_section(train.Params, "train", raw)[0]
    ablation = parse_section(ablate.Params, "ablate", raw)[0]
    student = parse_section(distill.Params, "distill", raw)[0]
    faults, recipes = [], list(searched)
    if ablation is not None and teachers is not None:
        faults = ablate.faults_of(ablation, teachers)
        recipes += [] if faults else ablate.recipes_of(ablation)
    if images is None:
        return faults
    if student is not None:
        faults = distill_faults(student, teachers, images.image_size) + faults
    if teachers is not None:
        faults = recipe_faults(teachers, recipes, images.image_size) + faults
        faults = train_faults(teachers, images.image_size) + faults
    return (label_noise_faults(noise, images.image_size) if noise is not None else []) + faults


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
