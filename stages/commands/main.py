"""The `assay` command: what people run beside the chain."""

import sys
from typing import Annotated

import typer

from stages.lib.errors import AssayError

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

    check()
    typer.echo("params.yaml and data/raw are in order")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def repro(context: typer.Context) -> None:
    """Check, run `dvc repro` (further arguments go to it), send records to MLflow, show the results."""
    from stages.commands.repro import repro

    raise typer.Exit(repro(context.args))


@app.command()
def summary() -> None:
    """Show the last evaluation's results."""
    from pathlib import Path

    from stages.commands.summary import summary

    summary(Path("data/evaluate"))


@app.command()
def salt(
    tries: Annotated[int, typer.Option(min=1, max=100_000, help="How many salts to try.")] = 1000,
) -> None:
    """Find the split.salt whose class shares lie nearest to those asked for; before training, never after."""
    from stages.commands.salt import salt

    salt(tries)


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


def main() -> None:
    """Run a command; what a person can act on is one message and an exit code, never a traceback."""
    try:
        app()
    except AssayError as error:
        typer.echo(f"assay: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
