"""Put a signed release into MLflow's model registry, where others find it by name and alias."""

import os
from pathlib import Path

from stages.lib.addresses import told, without_password
from stages.lib.errors import InputError, MachineError
from stages.lib.progress import say
from stages.lib.registry import CHAMPION, Registered, register, registry_name, release_of
from stages.lib.state import project_root
from stages.lib.trusted_bundle import key_or_refusal, trusted_copy


def register_bundle(bundle: Path, name: str, key: Path | None) -> Registered:
    """Verify the bundle, register it once, and say which version the alias is on.

    InputError where it does not verify or the name is none; MachineError where the tracker cannot be reached.
    """
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    public = key_or_refusal(key)
    if name and registry_name(name) != name:
        raise InputError(f"--name {name!r}: a model's name in MLflow has no `/`, no `:` and no line break")
    with trusted_copy(bundle, public) as copy:
        release = release_of(copy, public)
        try:
            done = register(project_root(), copy, release, name or release.name)
        except (MlflowException, SQLAlchemyError, requests.RequestException, OSError) as error:
            tracker = without_password(os.environ.get("MLFLOW_TRACKING_URI", "the tracker"))
            raise MachineError(f"{tracker}: {told(error)}; run it again when it answers") from error
    tell(done, release.passed)
    return done


def tell(done: Registered, passed: bool) -> None:
    """Say what was done, and what was not and why."""
    say(f"{'registered' if done.new else 'known already'}: {done.name} version {done.version}")
    if done.champion == done.version:
        say(f"alias      {CHAMPION}: models:/{done.name}@{CHAMPION}")
    elif not passed:
        say(f"alias      {CHAMPION} not moved: a gate of this release was overridden, not passed")
    else:
        say(f"alias      {CHAMPION} stays on version {done.champion}, which is newer")
