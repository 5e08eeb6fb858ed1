"""Signatures by OpenSSF model-signing with an elliptic-curve key: over all of a bundle, claims included.

The key is made on first use in the state folder and never leaves it; its public half is what others trust.
A signature says who vouches, so a check needs a key that was trusted beforehand: one found in the bundle
would vouch for itself.
"""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from stages.lib.errors import InputError
from stages.lib.payload import SIGNATURE
from stages.lib.state import state_folder

if TYPE_CHECKING:
    from model_signing import hashing

PRIVATE, PUBLIC = "release.key", "release.pub"
KEY_VARIABLE = "ASSAY_RELEASE_KEY"
"""Names the public key that this machine trusts, where no command line can: in a model server."""


def own_key() -> Path:
    """Return this clone's private key, made on first use; its public half lies beside it."""
    folder = state_folder() / "keys"
    private = folder / PRIVATE
    if not private.exists():
        make_key(folder)
    return private


def own_public_key() -> Path:
    """Return where the public half of this clone's key is, or would be."""
    return state_folder() / "keys" / PUBLIC


def trusted_key() -> Path | None:
    """Return the public key trusted here unless another is named: KEY_VARIABLE's, else this clone's own."""
    named = os.environ.get(KEY_VARIABLE)
    if named:
        return Path(named)
    return own_public_key() if own_public_key().exists() else None


def make_key(folder: Path) -> None:
    """Write a new key pair into `folder`; only its owner can read the private half."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / PUBLIC).write_bytes(public)
    descriptor = os.open(folder / PRIVATE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(private)


def write_public_half(private: Path, public: Path) -> None:
    """Write the public half of a private key; InputError where it is none."""
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(private.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{private}: not a private key in PEM form without a password ({error})") from error
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))


def fingerprint(public: Path) -> str:
    """Return the SHA-256 of a public key's DER form, as people compare it; InputError where it is none."""
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_public_key(public.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{public}: no such key") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{public}: not a public key in PEM form ({error})") from error
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def sign(bundle: Path, private: Path, signature: Path) -> None:
    """Sign every file of a bundle into `signature`, outside it. InputError where the key cannot be used."""
    from model_signing import signing

    try:
        config = signing.Config().use_elliptic_key_signer(private_key=private)
        config.set_hashing_config(_hashing())
        config.sign(bundle, signature)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{private}: cannot sign with this key ({error})") from error


def check_signature(bundle: Path, public: Path) -> str:
    """Return why the signature does not hold (another key, other bytes, other files), empty when it does."""
    from model_signing import verifying

    fingerprint(public)
    config = verifying.Config().use_elliptic_key_verifier(public_key=public)
    config.set_hashing_config(_hashing()).set_ignore_unsigned_files(True)
    try:
        names = _signed_names((bundle / SIGNATURE).read_bytes())
        config.verify(bundle, bundle / SIGNATURE)
    except Exception as error:  # noqa: BLE001 (a hostile signature can fail in the library in any way)
        return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    found = {path.name for path in bundle.iterdir()} - {SIGNATURE}
    unsigned = sorted(found ^ names)
    return f"signed are other files than these: {', '.join(unsigned[:5])}" if unsigned else ""


def _signed_names(content: bytes) -> set[str]:
    """Return the names that a signature file speaks of; ValueError unless its form is that of `sign`.

    A reader that is lenient about a signature's form lets bytes of it change unseen.
    """
    parsed = json.loads(content)
    envelope = parsed["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"], validate=True)
    signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
    hint = str(parsed["verificationMaterial"]["publicKey"]["hint"])
    if content != _as_written(hint, payload, signature):
        raise ValueError("the signature file is not in the form that it is written in")
    return {resource["name"] for resource in json.loads(payload)["predicate"]["resources"]}


def _as_written(hint: str, payload: bytes, signature: bytes) -> bytes:
    material = {"publicKey": {"hint": hint}, "tlogEntries": []}
    signatures = [{"sig": base64.b64encode(signature).decode(), "keyid": ""}]
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": signatures,
    }
    media_type = "application/vnd.dev.sigstore.bundle.v0.3+json"
    whole = {"mediaType": media_type, "verificationMaterial": material, "dsseEnvelope": envelope}
    return json.dumps(whole, separators=(",", ":")).encode()


def _hashing() -> "hashing.Config":
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)
