"""What a release is made of, as CycloneDX 1.6: the model's files, the scored data, and every locked library.

No time and no random serial number: the serial number follows from the files, so that the same release has
the same bill.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib.errors import InputError
from stages.lib.model_card import About
from stages.lib.payload import ONNX, SCORED, digest_of, sha256_of, weight_files

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")


def bill_of_materials(about: About, payload: Path, facts: Mapping[str, Any], lock: Path) -> str:
    """Return the bill as JSON; `lock` is the file of pinned requirements."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.output.json import JsonV1Dot6

    files = [*weight_files(payload).values(), payload / ONNX]
    model = _model(about, files, facts)
    libraries = [_library(name, version) for name, version in pinned(lock)]
    bom = Bom(components=[_file(payload / SCORED), *libraries])
    bom.metadata.component = model
    bom.register_dependency(model, libraries)
    digest = digest_of(payload, [path.name for path in (*files, payload / SCORED)])
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, digest)
    # A time would differ between two clones; the library leaves None out, though its type does not say so.
    bom.metadata.timestamp = None  # type: ignore[assignment]
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def pinned(lock: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, version) of every pinned requirement, in file order; InputError where there is none."""
    found = [
        match.groups()
        for line in lock.read_text(encoding="utf-8").splitlines()
        if (match := PINNED.match(line))
    ]
    if not found:
        raise InputError(f"{lock}: no pinned requirement in it; `make lock` writes it anew")
    yield from ((name, version) for name, version in found)


def _model(about: About, files: list[Path], facts: Mapping[str, Any]) -> "Component":
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=about.name,
        bom_ref="model",
        description=about.intended_use or None,
        components=[_file(path) for path in files],
        properties=[Property(name="assay:parameters", value=str(facts["n_parameters"]))],
    )


def _file(path: Path) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    sha256 = HashType(alg=HashAlgorithm.SHA_256, content=sha256_of(path))
    kind = ComponentType.DATA if path.name == SCORED else ComponentType.FILE
    return Component(type=kind, name=path.name, bom_ref=path.name, hashes=[sha256])


def _library(name: str, version: str) -> "Component":
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    purl = PackageURL("pypi", name=name, version=version)
    return Component(
        type=ComponentType.LIBRARY, name=name, version=version, purl=purl, bom_ref=f"{name}@{version}"
    )
