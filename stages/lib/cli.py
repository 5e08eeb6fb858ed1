"""Every stage's shell: arguments, params, one writer, fixed threads, run, metrics.json, and the record.

A stage hands over its `run`; what `run` asks for by keyword is what its command line takes (`stage_main`).
"""

import argparse
import inspect
import os
import subprocess
import sys
import tempfile
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.lib.artifacts import write_json
from stages.lib.config import PARAMS_FILE, Section, load_section, load_view, read_params
from stages.lib.errors import AssayError, MachineError, disk_fault
from stages.lib.journal import Journal, start_sender, tracking_is_on
from stages.lib.lock import die_with_parent, is_writer, only_one
from stages.lib.provenance import inputs_of_running, running_stage_name
from stages.lib.state import state_folder
from stages.lib.threads import pin_threads

Metrics = Mapping[str, Any]

PROCESSES = "ASSAY_PROCESSES"
"""Environment variable: how many processes of this machine share a stage that learns, one a GPU."""

INTERRUPTED = 130
"""Exit code of a program ended by Ctrl-C (128 + SIGINT)."""


@dataclass(frozen=True)
class Context:
    """What a stage may know of its own execution: name, key, a folder for checkpoints, and its journal."""

    stage: str
    key: str
    checkpoints: Path
    journal: Journal


def stage_main(
    doc: str | None, model: type[Section], run: Callable[..., Metrics], *, shareable: bool = False
) -> None:
    """Run a stage as a program and exit; a shareable one in as many processes as ASSAY_PROCESSES says.

    `run(params, *, ...)` takes `params` of `model`, and by keyword any of: Path and int (options of the
    command line, `out` among them), a Section subclass (its keys, read from the section of the keyword), and
    a Context. It returns what goes to `out`/metrics.json.
    """
    module = Path(sys.argv[0]).stem
    try:
        if shareable and (processes := _processes()) > 1 and "RANK" not in os.environ:
            sys.exit(_share(module, processes))
        sys.exit(_main(module, doc or "", model, run))
    except AssayError as error:
        print(f"\n{module}: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except OSError as error:
        fault = disk_fault(error, Path(error.filename or "."))
        if fault is None:
            raise
        print(f"\n{module}: {fault}", file=sys.stderr)  # noqa: T201
        sys.exit(fault.exit_code)
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"):  # torch's own
            raise
        reason = f"{error}; fewer images, fewer classes or a machine with more memory would do"
        print(f"\n{module}: out of memory: {reason}", file=sys.stderr)  # noqa: T201
        sys.exit(MachineError.exit_code)
    except KeyboardInterrupt:
        print(f"\n{module}: interrupted; `make repro` goes on from here", file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)


def _processes() -> int:
    asked = os.environ.get(PROCESSES) or "1"
    if not asked.isdigit() or int(asked) < 1:
        raise MachineError(f"{PROCESSES}={asked}: expected a number of processes, one a GPU")
    return int(asked)


def _share(module: str, processes: int) -> int:
    """Start the stage in several processes of this machine, and end when they have ended."""
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, "-m", *launcher, "-m", f"stages.{module}", *sys.argv[1:]]
    # The launcher hands SIGTERM on to its processes, and they save and leave.
    return subprocess.run(command, check=False, preexec_fn=die_with_parent).returncode


def _main(module: str, doc: str, model: type[Section], run: Callable[..., Metrics]) -> int:
    wanted = _keywords(run)
    options = vars(_parser(module, doc, wanted).parse_args())
    die_with_parent()
    pin_threads()
    params_file: Path = options.pop("params")
    arguments = options | _views(wanted, params_file)
    out: Path = options["out"]
    if not is_writer():
        return _take_part(
            module, params_file, load_section(model, module, params_file), run, wanted, arguments
        )
    with only_one(state_folder() / "locks" / f"{out.as_posix().replace('/', '-')}.lock", str(out)):
        params = load_section(model, module, params_file)
        with _recorded(module, read_params(params_file)) as context:
            arguments |= {name: context for name, kind in wanted.items() if kind is Context}
            out.mkdir(parents=True, exist_ok=True)
            metrics = run(params, **arguments)
            write_json(out / "metrics.json", metrics)
            outputs = sorted(path for path in out.iterdir() if path.is_file())
            context.journal.finish(flat_numbers(metrics), outputs)
    return 0


def _take_part(
    module: str,
    params_file: Path,
    params: Section,
    run: Callable[..., Metrics],
    wanted: Mapping[str, type],
    arguments: Mapping[str, Any],
) -> int:
    """Be one of several processes at a stage that does not write: what it makes goes with it."""
    inputs = inputs_of_running(module, read_params(params_file))
    context = _context(module, inputs.key(), Journal.silent())
    contexts = {name: context for name, kind in wanted.items() if kind is Context}
    with tempfile.TemporaryDirectory() as folder:
        run(params, **{**arguments, **contexts, "out": Path(folder)})
    return 0


def _keywords(run: Callable[..., Metrics]) -> dict[str, type]:
    hints = typing.get_type_hints(run)
    parameters = inspect.signature(run).parameters.values()
    return {item.name: hints[item.name] for item in parameters if item.kind is item.KEYWORD_ONLY}


def _parser(module: str, doc: str, wanted: Mapping[str, type]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{module}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--params", type=Path, default=PARAMS_FILE, help="params file (default: params.yaml)")
    for name, kind in wanted.items():
        if kind in (Path, int):
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind, required=True, dest=name)
    return parser


def _views(wanted: Mapping[str, type], params_file: Path) -> dict[str, Any]:
    sections = {name: kind for name, kind in wanted.items() if issubclass(kind, Section)}
    return {name: load_view(kind, name, params_file) for name, kind in sections.items()}


@contextmanager
def _recorded(module: str, params: Mapping[str, Any]) -> Iterator[Context]:
    """Give the context, and see to it that the journal ends with what happened."""
    inputs = inputs_of_running(module, params)
    stage = running_stage_name(module)
    journal = Journal.start(stage, inputs)
    if tracking_is_on():
        start_sender()
    try:
        yield _context(module, inputs.key(), journal)
    except BaseException as error:
        with suppress(MachineError):  # the disk that stopped the stage takes no record of it either
            journal.fail(f"{type(error).__name__}: {error}")
        raise


def _context(module: str, key: str, journal: Journal) -> Context:
    stage = running_stage_name(module)
    return Context(stage, key, state_folder() / "checkpoints" / stage / key, journal)


def flat_values(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to `a/b` names."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= (
            flat_values(value, f"{prefix}{name}/")
            if isinstance(value, Mapping)
            else {f"{prefix}{name}": value}
        )
    return flat


def flat_numbers(metrics: Metrics) -> dict[str, float]:
    """Flatten nested metrics to `a/b` names; what is no number is left out."""
    return {
        name: float(value) for name, value in flat_values(metrics).items() if isinstance(value, int | float)
    }
