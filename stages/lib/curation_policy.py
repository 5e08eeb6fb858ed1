"""What happens to each kind of finding, and beyond which threshold: the keys of section `curate`."""

from typing import Literal

from pydantic import Field

from stages.lib.config import Section

CopyAction = Literal["report", "neutral", "drop"]
LabelAction = Literal["report", "neutral", "drop", "relabel"]


class Policy(Section):
    """Actions and thresholds. A finding without a suggestion of its own cannot be relabelled."""

    labels_from_votes: Literal["consensus", "plurality"]
    annotators_disagree: CopyAction
    annotators_min_agreement: float = Field(ge=0, le=1)
    consensus_differs: LabelAction
    consensus_min_quality: float = Field(ge=0, le=1)
    conflicts: CopyAction
    conflicts_min_score: float = Field(ge=0, le=1)
    label_errors: LabelAction
    label_errors_max_quality: float = Field(ge=0, le=1)
    exact_copies: CopyAction
    near_copies: CopyAction
    near_copies_max_distance: float = Field(ge=0)
