"""What params alone can tell would keep a network from being trained: image size, nets of timm, named files.

Sections that are in order by themselves may not go together, and files may not be there. torch stays out,
but for a net of timm or a teacher's file that params name: that takes some seconds.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from stages import distill, label_noise, train
from stages.lib.config import parse_section
from stages.lib.errors import InputError, prefixed
from stages.lib.network_names import RESIDUAL, TIMM, WHITENED, depth_fault, size_fault
from stages.lib.pinned_file import Pinned
from stages.lib.search_space import SECTION, Drawn, patched
from stages.lib.teacher_files import OTHER, check_pin, files_of

SHAPES = ("train.network", "train.widths")
"""Keys of train that say what is built."""

Recipe = tuple[str, Mapping[str, Any]]
"""Other values for keys of train, and what a message about them begins with."""


def label_noise_faults(params: label_noise.Params, image_size: int) -> list[str]:
    """Return what keeps the folds' networks from these images."""
    fault = size_fault(WHITENED, params.widths, image_size) if params.model == "network" else ""
    return [f"  label_noise.{fault}"] if fault else []


def train_faults(params: train.Params, image_size: int) -> list[str]:
    """Return what keeps train's network, or the one that pretrain makes for it, from its images and files."""
    networks = dict.fromkeys((RESIDUAL, params.network))
    sizes = [size_fault(name, params.widths, image_size) for name in networks]
    faults = [f"  train.{fault}" for fault in sizes if fault]
    if params.network.startswith(TIMM):
        faults += _refusal(lambda: _check_timm("train", params.network, image_size, params.drop_path))
        if params.init == "timm" and not faults:
            faults += _refusal(lambda: _check_published(params.network))
    if params.init == "file":
        faults += _refusal(Pinned("train.init", Path(params.init_file), params.init_sha256).check)
    return faults


def recipe_faults(params: train.Params, others: Iterable[Recipe], image_size: int) -> list[str]:
    """Return what keeps train with other values for its keys from training, where it could as it stands.

    What the section itself refuses is told elsewhere.
    """
    own, section = train_faults(params, image_size), params.model_dump(mode="json")
    faults = []
    for place, values in others:
        changed = parse_section(train.Params, SECTION, {SECTION: patched(section, values)})[0]
        new = train_faults(changed, image_size) if changed is not None else []
        faults += [f"  {place}: {fault.strip()}" for fault in new if fault not in own]
    return faults


def searched_networks(space: Mapping[str, Drawn]) -> list[Recipe]:
    """Return each network and each list of widths that a search may choose, as `recipe_faults` takes them."""
    return [
        (f"tune.space.{key}", {key: choice})
        for key in SHAPES
        if key in space
        for choice in space[key].choices or ()
    ]


def distill_faults(params: distill.Params, teachers: train.Params | None, image_size: int) -> list[str]:
    """Return what keeps the student from its images, its teacher's file or hints; teachers: train's."""
    faults: list[str] = []
    if params.network.startswith(TIMM):
        faults += _refusal(lambda: _check_timm("distill", params.network, image_size, 0.0))
    elif params.network != distill.SAME and (fault := size_fault(params.network, params.widths, image_size)):
        faults.append(f"  distill.{fault}")
    if params.teacher == "file":
        pinned = Pinned("distill.teacher", Path(params.teacher_file), params.teacher_sha256)
        faults += _refusal(lambda: _check_teacher(pinned, image_size))
    if params.hint_weight:
        faults += _hint_faults(params, teachers if params.teacher == "ensemble" else None)
    return faults


def _hint_faults(params: distill.Params, teachers: train.Params | None) -> list[str]:
    known = [("teacher", teachers.network, teachers.widths)] if teachers is not None else []
    if params.network != distill.SAME:
        known.append(("student", params.network, params.widths))
    own = [(who, len(widths)) for who, name, widths in known if not name.startswith(TIMM)]
    return [f"  {fault}" for who, n in own if (fault := depth_fault(params.hint_depth, n, who))]


def _check_timm(section: str, network: str, image_size: int, drop_path: float) -> None:
    from stages.lib.timm_nets import check_body

    with prefixed(f"{section}."):
        check_body(network.removeprefix(TIMM), image_size, drop_path)


def _check_published(network: str) -> None:
    from stages.lib.timm_nets import check_published

    with prefixed("train."):
        check_published(network.removeprefix(TIMM))


def _check_teacher(teacher: Pinned, image_size: int) -> None:
    """Raise InputError unless the files are those chosen, and say of themselves that they fit the images."""
    from stages.lib.weights import read_card

    files = files_of(teacher)
    with prefixed(f"{teacher.key}_file: "):
        for file in files.values():
            made_for = read_card(file, OTHER).architecture.image_size
            if made_for != image_size:
                raise InputError(
                    f"{file}: made for images of {made_for} pixels, ingest.image_size is {image_size}: "
                    f"{OTHER}"
                )
    check_pin(teacher, {file: teacher.digest(file) for file in files.values()})


def _refusal(check: Callable[[], object]) -> list[str]:
    """Return what a check raises as a line, or nothing."""
    try:
        check()
    except InputError as error:
        return [f"  {error}"]
    return []
