"""Section `tune` of params.yaml: what `assay tune` searches, how, and for how long."""

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from stages.lib.config import UNTOLD, Section, parse_section
from stages.lib.search_space import SECTION, Drawn, space_faults
from stages.lib.training_params import Seed

TUNE = "tune"
POSTGRESQL = "postgresql+pg8000://"


class Params(Section):
    """Section `tune`."""

    space: dict[str, Drawn]
    sampler: Literal["random", "tpe"]
    trials: int = Field(ge=1, le=100_000)
    seed: Seed
    seeds: int = Field(ge=1, le=100)
    epochs: int = Field(ge=0, le=100_000)
    pruner: Literal["none", "median", "successive_halving"]
    metric: Literal["val_top1_accuracy", "val_loss"]
    storage: str
    workers: int = Field(ge=1, le=64)

    @field_validator("storage", mode="before")
    @classmethod
    def _no_secret(cls, storage: Any) -> Any:
        if not isinstance(storage, str) or (storage and not storage.startswith(POSTGRESQL)):
            raise PydanticCustomError(
                UNTOLD, f'expected "" (a file in .assay) or {POSTGRESQL}user@host/database'
            )
        place, _, options = storage.removeprefix(POSTGRESQL).partition("?")
        if ":" in place.rpartition("@")[0] or "@" in options or "pass" in unquote(options).lower():
            raise PydanticCustomError(
                UNTOLD, "no password in a file that is committed: put the URL into ASSAY_TUNE_STORAGE"
            )
        return storage


def tune_faults(raw: Mapping[str, Any], train: type[Section]) -> list[str]:
    """Return one line per fault of the sections tune and train, or, where both are in order, of the space."""
    params, faults = parse_section(Params, TUNE, raw)
    faults = faults + parse_section(train, SECTION, raw)[1]
    if params is None or faults:
        return faults
    return space_faults(params.space, train, raw[SECTION], params.epochs)
