"""Networks of the timm library by name (Wightman, PyTorch Image Models), as bodies without their heads.

timm takes five seconds to import, so only these functions do it. Weights come from the Hugging Face hub only
where `train.init: timm` asks for them; a name alone builds the network without any download.
"""

import os
from typing import Any

import torch
from torch import nn

from stages.lib.errors import InputError, MachineError, prefixed
from stages.lib.near_words import nearest
from stages.lib.normalise import Normalisation


def timm_body(
    name: str, channels: int, image_size: int, drop_path: float = 0.0, *, pretrained: bool = False
) -> tuple[nn.Module, int]:
    """Build timm's net `name` without a head; return it and how many features it gives an image.

    InputError, which begins with the key alone, for a name that timm does not know or a net that these images
    are too small for; MachineError when pretrained weights cannot be fetched.
    """
    settings = _settings(name)
    import timm

    wanted: dict[str, Any] = {"num_classes": 0, "in_chans": channels}
    if settings is not None and settings.fixed_input_size:
        wanted["img_size"] = image_size
    if drop_path:
        wanted["drop_path_rate"] = drop_path
    try:
        body: nn.Module = timm.create_model(name, pretrained=pretrained, **wanted)
    except TypeError as error:
        if drop_path and "drop_path" in str(error):
            raise InputError(
                f"drop_path: timm's {name} has no paths to drop; received {drop_path}: set it to 0, or take "
                "another net"
            ) from error
        raise InputError(f"network: timm's {name} cannot be built for such images ({error})") from error
    except NotImplementedError:  # which is a RuntimeError: a layer that cannot be built without its numbers
        raise
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise InputError(f"network: timm cannot build {name}: {error}") from error
        raise MachineError(
            f"the weights of timm's {name} cannot be fetched ({type(error).__name__}): they need a network, "
            "or a filled Hugging Face cache; `train.init: file` takes weights from a local file"
        ) from error
    return body, _features(body, name, channels, image_size)


def _settings(name: str) -> Any:
    """Return what timm knows of a net's weights (None: of none); InputError for a name it does not know."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import timm

    kind, _, tag = name.partition(".")
    if not timm.is_model(kind):
        near = nearest(kind, timm.list_models())
        raise InputError(f"network: timm has no net {kind!r}{near}")
    if tag:
        tags = [each.partition(".")[2] for each in timm.list_models(f"{kind}.*", include_tags=True)]
        if tag not in tags:
            raise InputError(f"network: timm's {kind} has no weights {tag!r}{nearest(tag, tags)}")
    return timm.get_pretrained_cfg(name)


def check_published(name: str) -> None:
    """Raise InputError unless timm publishes weights of this net."""
    settings = _settings(name)
    if settings is None or not settings.has_weights:
        raise InputError(f"init: timm has no pretrained weights for {name}: take init random or file")


def check_body(name: str, image_size: int, drop_path: float) -> None:
    """Raise timm_body's InputError where it would, mostly without computing or filling anything."""
    try:
        with torch.device("meta"):
            timm_body(name, 3, image_size, drop_path)
    except NotImplementedError:
        timm_body(name, 3, image_size, drop_path)


def _features(body: nn.Module, name: str, channels: int, image_size: int) -> int:
    """Return what the body gives for one image; measured, because nets count their features differently."""
    body.eval()
    try:
        with torch.no_grad():
            shape = body(torch.zeros(1, channels, image_size, image_size)).shape
    except NotImplementedError:
        raise
    except RuntimeError as error:
        raise InputError(
            f"network: timm's {name} cannot take images of {image_size} pixels ({error}); raise "
            "ingest.image_size or take another net"
        ) from error
    return int(shape[1])


def hub_weights(name: str, channels: int, image_size: int) -> tuple[dict[str, torch.Tensor], Normalisation]:
    """Fetch timm's pretrained body, and the normalisation that it was trained with."""
    with prefixed("train."):
        check_published(name)
        settings = _settings(name)
        body, _ = timm_body(name, channels, image_size, pretrained=True)
    mean, std = settings.mean, settings.std
    if channels == 1:
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return body.state_dict(), Normalisation(tuple(mean), tuple(std))
