"""What a student is worth beside its teachers: how often they agree, and what each costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from stages.lib.dataset import Dataset
from stages.lib.device import torch_device
from stages.lib.ensemble import Member, members_mean
from stages.lib.feeding import images_near
from stages.lib.hints import without_regressor
from stages.lib.intervals import accuracy_interval
from stages.lib.net_report import describe
from stages.lib.nets import Architecture
from stages.lib.teachers import order_of
from stages.lib.views import PLAIN, View, class_probs

CONFIDENCE = 0.95
"""Of the agreement's interval; the habit of the field."""


def val_agreement(
    student: nn.Module,
    teachers: Mapping[str, Member],
    views: Sequence[View],
    dataset: Dataset,
    groups: np.ndarray,
) -> dict[str, Any]:
    """Return the share of val samples on which the student says what its teachers say, with its interval.

    Teachers are asked through their views, empty meaning the plain picture; the interval counts a group (N,)
    of copies as less than its samples. Empty without val samples.
    """
    val = dataset.part("val")
    if not len(val):
        return {}
    first = next(iter(teachers.values()))
    images = images_near(dataset.pixels[val], torch_device(dataset.pixels.shape[1]))
    believed = members_mean(teachers, images, views or PLAIN)
    order = order_of(first, dataset)
    believed = believed if order is None else believed[:, order]
    said = class_probs(student, images, first.card.normalisation, PLAIN)
    agree = (said.argmax(1) == believed.argmax(1)).cpu().numpy()
    numbered = np.unique(groups[val], return_inverse=True)[1]
    return {
        "val_agreement": float(agree.mean()),
        "val_agreement_ci": list(accuracy_interval(agree, numbered, CONFIDENCE)),
        "n_val": len(val),
    }


def sizes(student: nn.Module, architecture: Architecture, teacher: Member) -> dict[str, float]:
    """Return parameters and floating-point operations an image of the student, and of one teacher."""
    channels, side = architecture.channels, architecture.image_size
    own, theirs = describe(student, channels, side), describe(teacher.network, channels, side)
    published = without_regressor(dict(student.named_parameters()))
    n_parameters = sum(value.numel() for value in published.values())
    return {
        "n_parameters": n_parameters,
        "n_teacher_parameters": theirs["n_parameters"],
        "parameter_ratio": n_parameters / theirs["n_parameters"],
        "flops_per_image": own["flops_per_image"],
        "teacher_flops_per_image": theirs["flops_per_image"],
    }
