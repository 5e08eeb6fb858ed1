"""Networks of the timm library by name (Wightman, PyTorch Image Models), as bodies without their heads.

timm takes five seconds to import, so only these functions do it. Weights come from the Hugging Face hub only
where `train.init: timm` asks for them; a name alone builds the network without any download.
"""

import os
from typing import Any

import torch
from torch import nn

from stages.lib.errors import InputError, MachineError
from stages.lib.normalise import Normalisation


def timm_body(
    name: str, channels: int, image_size: int, drop_path: float = 0.0, *, pretrained: bool = False
) -> tuple[nn.Module, int]:
    """Build timm's net `name` without a head; return it and how many features it gives an image.

    InputError for a name that timm does not know or a net that these images are too small for; MachineError
    when pretrained weights cannot be fetched.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import timm

    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:5]
        raise InputError(f"train.network: timm has no net {name!r}; near it: {', '.join(near) or 'none'}")
    wanted: dict[str, Any] = {"num_classes": 0, "in_chans": channels}
    settings = timm.get_pretrained_cfg(name)
    if settings is not None and settings.fixed_input_size:
        wanted["img_size"] = image_size
    if drop_path:
        wanted["drop_path_rate"] = drop_path
    try:
        body: nn.Module = timm.create_model(name, pretrained=pretrained, **wanted)
    except TypeError as error:
        raise InputError(f"train.network: timm's {name} does not take {sorted(wanted)} ({error})") from error
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise InputError(f"train.network: timm cannot build {name}: {error}") from error
        raise MachineError(
            f"the weights of timm's {name} cannot be fetched ({type(error).__name__}): they need a network, "
            "or a filled Hugging Face cache; `train.init: file` takes weights from a local file"
        ) from error
    return body, _features(body, name, channels, image_size)


def _features(body: nn.Module, name: str, channels: int, image_size: int) -> int:
    """Return what the body gives for one image; measured, because nets count their features differently."""
    body.eval()
    try:
        with torch.no_grad():
            shape = body(torch.zeros(1, channels, image_size, image_size)).shape
    except RuntimeError as error:
        raise InputError(
            f"train.network: timm's {name} cannot take images of {image_size} pixels ({error}); raise "
            "ingest.image_size or take another net"
        ) from error
    return int(shape[1])


def hub_weights(name: str, channels: int, image_size: int) -> tuple[dict[str, torch.Tensor], Normalisation]:
    """Fetch timm's pretrained body, and the normalisation that it was trained with."""
    body, _ = timm_body(name, channels, image_size, pretrained=True)
    import timm

    settings = timm.get_pretrained_cfg(name)
    if settings is None:
        raise InputError(f"train.init: timm has no pretrained weights for {name}")
    mean, std = settings.mean, settings.std
    if channels == 1:
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return body.state_dict(), Normalisation(tuple(mean), tuple(std))
