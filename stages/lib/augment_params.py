"""The keys of train.augment with their ranges; values, meaning and advice stand in params.yaml."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.lib.config import Section

if TYPE_CHECKING:
    from stages.lib.augment import Augmentation

Share = Annotated[float, Field(ge=0, le=1)]
Area = Annotated[float, Field(gt=0, lt=1)]


class AugmentSection(Section):
    """How far an image may be changed without changing its class, and how images and targets are mixed."""

    rotation_degrees: float = Field(ge=0, le=180)
    shift: float = Field(ge=0, le=0.5)
    zoom: float = Field(ge=0, le=1)
    aspect: float = Field(ge=0, le=1)
    shear: float = Field(ge=0, le=1)
    flip: Literal[False, True, "alternate"]
    padding: Literal["zeros", "border", "reflection"]
    crop_pixels: int = Field(ge=0, le=512)
    crop_min_area: float = Field(gt=0, le=1)
    policy: Literal["none", "randaugment", "trivialaugment"]
    policy_operations: int = Field(ge=1, le=8)
    policy_magnitude: int = Field(ge=0, le=30)
    brightness: Share
    contrast: Share
    saturation: Share
    hue: float = Field(ge=0, le=0.5)
    downscale_share: Share
    downscale_min: float = Field(gt=0, le=1)
    blur_share: Share
    blur_sigma: float = Field(ge=0, le=64)
    jpeg_share: Share
    jpeg_quality: int = Field(ge=1, le=100)
    erase_share: Share
    erase_area: tuple[Area, Area]
    cutout: Share
    erase_fill: Literal["mean", "noise"]
    mix_share: Share
    mixup_alpha: float = Field(ge=0, le=10)
    cutmix_alpha: float = Field(ge=0, le=10)
    paste: bool

    @model_validator(mode="after")
    def _nothing_half_said(self) -> Self:
        if self.erase_area[0] > self.erase_area[1]:
            raise ValueError("erase_area is [least, most]: the first must not exceed the second")
        kinds = [
            name
            for name, on in (
                ("mixup_alpha", self.mixup_alpha > 0),
                ("cutmix_alpha", self.cutmix_alpha > 0),
                ("paste", self.paste),
            )
            if on
        ]
        if self.mix_share and not kinds:
            raise ValueError("mix_share asks for mixing, but mixup_alpha, cutmix_alpha and paste are off")
        if kinds and not self.mix_share:
            raise ValueError(
                f"{' and '.join(kinds)}: no image is mixed while mix_share is 0; raise it, or switch them off"
            )
        return self

    @model_validator(mode="after")
    def _does_what_it_asks_for(self) -> Self:
        for asked, nothing in (
            (self.blur_share > 0 and self.blur_sigma == 0, "blur_share asks for blur, but blur_sigma is 0"),
            (
                self.downscale_share > 0 and self.downscale_min == 1,
                "downscale_share asks for fewer pixels, but downscale_min 1.0 keeps them all",
            ),
            (
                self.policy == "randaugment" and self.policy_magnitude == 0,
                "policy randaugment changes next to nothing at policy_magnitude 0: raise it, or set none",
            ),
        ):
            if asked:
                raise ValueError(nothing)
        return self

    def value(self) -> "Augmentation":
        """Return these keys as the value that lib/augment.py takes."""
        from stages.lib.augment import Augmentation

        return Augmentation(**self.model_dump())


class AugmentationParams(Section):
    """The section's nested keys, for stages that take images as `train` does."""

    augment: AugmentSection

    def augmentation(self) -> "Augmentation":
        """Return train.augment as the value that lib/augment.py takes."""
        return self.augment.value()
