"""A released bundle as MLflow loads it: `mlflow.pyfunc.load_model("models:/NAME@champion")`.

MLflow's own file (`MLmodel`) names this module, so no pickle is written and none is read. What is loaded is
judged here, by the Assay that is installed, against a key that this machine trusts: neither code nor key
comes with the model, for they would vouch for themselves.
"""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib.classifier import Answer, open_classifier
from stages.lib.errors import InputError
from stages.lib.refusal import RefusalError
from stages.lib.trusted_bundle import key_or_refusal, trusted_copy

if TYPE_CHECKING:
    import pandas as pd

IMAGE = "image"
"""The one column asked for: bytes of image files. No paths: a server reads no file for strangers."""

ANSWER_COLUMNS = ("answer", "confidence", "best", "refused")
"""What `assay predict --form csv` writes, but for the file's name."""


class RegisteredModel:
    """A trusted bundle with its decoding workers, which end with this object."""

    def __init__(self, bundle: Path, key: Path) -> None:
        ending = ExitStack()
        with trusted_copy(bundle, key) as copy:
            self._classifier = ending.enter_context(open_classifier(copy))
        self._one_at_a_time = threading.Lock()
        weakref.finalize(self, ending.close)

    def predict(self, model_input: "pd.DataFrame") -> "pd.DataFrame":
        """Answer each row's `image`, the bytes of a file; a row that cannot be read says so in `refused`."""
        import pandas as pd

        if IMAGE not in model_input:
            raise InputError(f"the input has no column {IMAGE!r} that holds the bytes of image files")
        with self._one_at_a_time:
            answers = list(self._classifier.answers(_readers(model_input[IMAGE])))
        return pd.DataFrame([_row(answer) for answer in answers], columns=list(ANSWER_COLUMNS))


def _readers(images: "pd.Series[Any]") -> Iterator[tuple[str, Callable[[], bytes]]]:
    for position, content in enumerate(images):
        yield str(position), _reader(content)


def _reader(content: object) -> Callable[[], bytes]:
    def read() -> bytes:
        if not isinstance(content, bytes):
            raise RefusalError("not_bytes", f"{type(content).__name__} instead of the bytes of an image file")
        return content

    return read


def _row(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in asdict(answer).items() if name in ANSWER_COLUMNS}


def _load_pyfunc(path: str) -> RegisteredModel:
    """Load what MLflow brought; InputError where it is not what a trusted key signed."""
    return RegisteredModel(Path(path), key_or_refusal(None))
