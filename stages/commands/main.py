"""The `assay` command: what people run beside the chain."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from stages.lib.errors import AssayError, disk_fault

Trusted = Annotated[
    Path | None,
    typer.Option(help="Public key you trust (PEM); default: ASSAY_RELEASE_KEY's, else this clone's own."),
]
"""The key that a release is held against."""

app = typer.Typer(
    help="From labelled images to a model that somebody can sign for.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def check() -> None:
    """Check params.yaml and data/raw; nothing is run."""
    from stages.commands.check import check

    check(searching=True)
    typer.echo("params.yaml and data/raw are in order")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def repro(context: typer.Context) -> None:
    """Check, run `dvc repro` (further arguments go to it), send records to MLflow, show the results."""
    from stages.commands.repro import repro

    raise typer.Exit(repro(context.args))


@app.command()
def summary(
    markdown: Annotated[bool, typer.Option(help="Print Markdown, for a pull request.")] = False,
    against: Annotated[str, typer.Option(metavar="COMMIT", help="Hold against this commit's figures.")] = "",
) -> None:
    """Show the last evaluation's results."""
    if markdown or against:
        from stages.commands.markdown_summary import markdown_summary

        typer.echo(markdown_summary(against or None), nl=False)
        return
    from stages.commands.summary import summary

    summary(Path("data/evaluate"))


@app.command()
def costs() -> None:
    """Time a member, the ensemble and the student on this machine (torch and ONNX, 1 and 64 images)."""
    from stages.commands.costs import costs

    costs(Path("data"))


@app.command()
def salt(
    tries: Annotated[int, typer.Option(min=1, max=100_000, help="How many salts to try.")] = 1000,
) -> None:
    """Find the split.salt whose class shares lie nearest to those asked for; before training, never after."""
    from stages.commands.salt import salt

    salt(tries)


@app.command()
def audit(
    n: Annotated[int, typer.Argument(min=1, max=1_000_000, help="How many images to list in all.")] = 200,
) -> None:
    """List random test images in data/review/audit.csv, for people to check their labels."""
    from stages.commands.audit import audit

    typer.echo(f"{audit(n)} images added to data/review/audit.csv: fill in the column label, from the top")


@app.command()
def runs() -> None:
    """List the stages in dvc.lock with their keys and the MLflow runs that computed them."""
    from stages.commands.runs import runs

    runs()


@app.command()
def sync(
    wait: Annotated[float, typer.Option(help="Seconds to wait for the tracker at most.")] = 60.0,
) -> None:
    """Send to MLflow what stages recorded and the tracker has not taken yet."""
    from stages.commands.sync import sync

    remaining = sync(wait)
    typer.echo("every record is sent" if not remaining else f"{remaining} record(s) remain: try again later")
    raise typer.Exit(1 if remaining else 0)


@app.command()
def tune(
    trials: Annotated[
        int, typer.Option(min=0, help="Trials to be finished in all, earlier ones counted; 0: tune.trials.")
    ] = 0,
    workers: Annotated[
        int, typer.Option(min=0, max=64, help="Processes of this machine that train; 0: tune.workers.")
    ] = 0,
    study: Annotated[
        str,
        typer.Option(metavar="NAME", help="The study; default: named by inputs."),
    ] = "",
    apply: Annotated[
        bool,
        typer.Option(
            help="Write the winner into params.yaml, comments kept; also one that is not shown to be better."
        ),
    ] = False,
    one_of_many: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Search the keys that tune.space names, on train and val alone; run again to go on, or for the results.

    Several machines: give all the same PostgreSQL database (ASSAY_TUNE_STORAGE=postgresql+pg8000://…) and
    run the same command on each.
    """
    from stages.commands.tune import tune

    tune(trials, workers, study, apply, one_of_many=one_of_many)


@app.command()
def release(
    override: Annotated[
        str, typer.Option(metavar="GATE", help="Record that this failed gate is let pass.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why, with --override.")] = "",
    by: Annotated[str, typer.Option(metavar="NAME", help="Who decided, with --override.")] = "",
    key: Annotated[
        Path | None, typer.Option(help="Private key (PEM, elliptic curve) instead of this clone's own.")
    ] = None,
    parent: Annotated[Path | None, typer.Option(help="The bundle of the release before this one.")] = None,
    tag: Annotated[
        str, typer.Option(metavar="vX.Y.Z", help="Give the release a version: git tag model@vX.Y.Z.")
    ] = "",
) -> None:
    """Sign the model that passed its gates into data/release/bundle; or override a gate, in your name."""
    from stages.commands import release as act

    if override:
        act.override(override, reason, by)
        return
    if tag:
        act.tag(tag, key, parent)
    else:
        act.release(key, parent)


@app.command()
def register(
    bundle: Annotated[Path, typer.Argument(help="The folder of a signed release.")] = Path(
        "data/release/bundle"
    ),
    name: Annotated[str, typer.Option(help="The model's name there; default: release.name.")] = "",
    key: Trusted = None,
) -> None:
    """Put a release into MLflow's model registry; alias champion if every gate passed."""
    from stages.commands.register import register_bundle

    register_bundle(bundle, name, key)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="The folder of a signed release.")],
    key: Trusted = None,
    data: Annotated[
        Path | None, typer.Option(help="The data folder of a clone: score its test set again.")
    ] = None,
    after: Annotated[
        Path | None, typer.Option(help="The release you have: this one has to name it as the one before.")
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(help="Hold this log (data/release/log.jsonl) against what was signed."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a release, offline: signature, digests, claims; exit 0 verified, 1 wrong, 2 cannot be judged."""
    from stages.commands.verify import verify_bundle

    raise typer.Exit(verify_bundle(bundle, key, data, after, as_json, log))


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="The folder of a signed release.")],
    images: Annotated[list[Path] | None, typer.Argument(help="Image files, or folders of them.")] = None,
    key: Trusted = None,
    form: Annotated[
        Literal["table", "csv", "json"], typer.Option(help="table for people, csv or json for programs.")
    ] = "table",
    out: Annotated[Path | None, typer.Option(help="Write to this file (csv unless --form json).")] = None,
    serve: Annotated[
        int | None, typer.Option(metavar="PORT", help="Answer on loopback instead; 0 picks a port.")
    ] = None,
) -> None:
    """Classify images with a released model; exit 1 where a file was refused."""
    if serve is not None:
        from stages.commands.serve import serve as answer

        answer(bundle, key, serve)
        return
    from stages.commands.predict import predict

    raise typer.Exit(1 if predict(bundle, images or [], key, form, out) else 0)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="The folder of a release.")],
    new: Annotated[Path, typer.Argument(help="The folder of another.")],
    key: Trusted = None,
) -> None:
    """Say what changed between two releases: data, params, code, figures on common samples, gates."""
    from stages.commands.diff import diff

    diff(old, new, key)


@app.command()
def fsck(
    remote: Annotated[str, typer.Option(metavar="NAME", help="Hash what this DVC remote holds, too.")] = "",
    mend: Annotated[bool, typer.Option(help="Put a sound copy in place of what is wrong.")] = False,
) -> None:
    """Hash workspace, cache and remote against what is recorded; exit 1 while anything is wrong."""
    from stages.commands.fsck import fsck

    raise typer.Exit(fsck(remote or None, mend))


@app.command()
def doctor(
    mend: Annotated[
        bool, typer.Option(help="Put right what can be put right without losing anything.")
    ] = False,
) -> None:
    """Explain what an interrupted run, pull or merge left behind; exit 1 while anything remains."""
    from stages.commands.doctor import doctor

    raise typer.Exit(1 if doctor(mend) else 0)


@app.command()
def push(
    remote: Annotated[str, typer.Option(metavar="NAME", help="Send to this DVC remote.")] = "",
) -> None:
    """Share results, all that the run cache knows, so that nobody computes them again."""
    from stages.commands.push import push

    push(remote or None)


@app.command()
def pull(
    remote: Annotated[str, typer.Option(metavar="NAME", help="Fetch from this DVC remote.")] = "",
    known: Annotated[bool, typer.Option(help="Fetch every result that anybody shared, too.")] = False,
) -> None:
    """Fetch results, check every byte of them, and only then check them out."""
    from stages.commands.pull import pull

    pull(remote or None, known=known)
    typer.echo("the workspace is as dvc.lock records it")


def main() -> None:
    """Run a command; what a person can act on is one message and an exit code, never a traceback."""
    try:
        app()
    except AssayError as error:
        typer.echo(f"assay: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        fault = disk_fault(error, Path(error.filename or "."))
        if fault is None:
            raise
        typer.echo(f"assay: {fault}", err=True)
        sys.exit(fault.exit_code)


if __name__ == "__main__":
    main()
