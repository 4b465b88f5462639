"""Signatures of reports: Ed25519 (RFC 8032), and the names of keys.

A key's id is the SHA-256 of its 32 public bytes, in hexadecimal: it names the key and nobody else's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from outdial.core.errors import InvalidInputError

ALGORITHM: Final = "Ed25519"
PUBLIC_BYTES: Final = 32


def new_key() -> tuple[str, bytes]:
    """Draw a key; return its private half as text, to be kept secret, and its 32 public bytes."""
    key = Ed25519PrivateKey.generate()
    return to_text(key.private_bytes_raw()), key.public_key().public_bytes_raw()


def key_id(public: bytes) -> str:
    """Return the id of a public key."""
    return hashlib.sha256(public).hexdigest()


def signer(private: str) -> Callable[[bytes], bytes]:
    """Return what signs by a private key as :func:`new_key` gave it: to open a key costs as much as to sign."""
    return Ed25519PrivateKey.from_private_bytes(from_text(private)).sign


def sign(private: str, message: bytes) -> bytes:
    """Return the signature by a private key as :func:`new_key` gave it."""
    return signer(private)(message)


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the holder of the key has signed the message."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def to_text(data: bytes) -> str:
    """Return bytes as base64 (RFC 4648 §4)."""
    return base64.b64encode(data).decode()


def from_text(text: str) -> bytes:
    """Return the bytes of a base64 text. Raises ValueError for any other, also one that others would read alike."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"it is no base64: {error}") from error
    if to_text(data) != text:
        raise ValueError("its last character holds more bits than belong to it")
    return data


def public_pem(public: bytes) -> str:
    """Return a public key as others read it: PEM, SubjectPublicKeyInfo (RFC 8410)."""
    return (
        Ed25519PublicKey.from_public_bytes(public)
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        .decode("ascii")
    )


def read_public_pem(text: str) -> bytes:
    """Return the bytes of a public key in PEM. Raises InvalidInputError."""
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInputError(
            ["The key file holds no public key in PEM, as `outdial keys show --pem` prints it."]
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidInputError(["The key file holds a key of another kind; reports are signed with Ed25519."])
    return key.public_bytes_raw()
