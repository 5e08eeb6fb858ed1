"""Views of a picture as params.yaml lists them; several stages may look at a picture more than once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from stages.lib.config import Section

if TYPE_CHECKING:
    from stages.lib.views import View


class ViewParams(Section):
    """One view: pixels to the right and down, share of the sides, mirrored or not, weight in the mean.

    crops: 1 is the middle; 5 are four corners and the middle, 10 these and their mirror images. They share
    the weight.
    """

    x: int = Field(ge=-64, le=64)
    y: int = Field(ge=-64, le=64)
    flip: bool
    weight: float = Field(gt=0, le=1000)
    zoom: float = Field(ge=0.1, le=2)
    crops: Literal[1, 5, 10]

    @model_validator(mode="after")
    def _goes_together(self) -> "ViewParams":
        if self.crops > 1 and self.zoom >= 1:
            raise ValueError(
                f"{self.crops} crops of the whole picture are all alike: set zoom below 1, as 0.875"
            )
        return self


def views_of(listed: Sequence[ViewParams]) -> "tuple[View, ...]":
    """Return every single view, crops laid out."""
    from stages.lib.views import View, crops

    found: list[View] = []
    for one in listed:
        view = View(one.x, one.y, one.flip, one.weight, one.zoom)
        found += crops(view, one.crops)
    return tuple(found)
