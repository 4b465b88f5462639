"""Encrypts the secrets kept in the database (client secrets, trunk and ARI passwords).

The key is ``OUTDIAL_SECRET_KEY`` or, when unset, the file ``secret.key`` in the data folder, made on first use.
Losing it loses exactly those secrets, nothing else; every machine on one database needs the same key.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken

from outdial.config import Settings
from outdial.core.errors import OutdialError, StartupError

KEY_FILE = "secret.key"
"""Name of the key's file in the data folder, mode 0600."""

MOST_OPENED: Final = 1024
"""Secrets that are remembered in clear; each takes some 400 bytes."""


class WrongSecretKeyError(OutdialError):
    """A secret in the database was encrypted with another key."""

    code = "wrong_secret_key"


class SecretBox:
    """Fernet (AES-128-CBC + HMAC-SHA256) with one key."""

    __slots__ = ("_fernet", "_key", "_opened")

    def __init__(self, key: str) -> None:
        try:
            self._fernet = Fernet(key)
            self._key = base64.urlsafe_b64decode(key)
            self._opened: dict[bytes, str] = {}
        except (ValueError, binascii.Error):
            raise StartupError(
                "The secret key is not valid: it must be 32 bytes in URL-safe base64. Make one with: "
                'python3 -c "import base64,os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())"'
            ) from None

    def derive(self, purpose: str) -> str:
        """Return 32 hex digits that belong to the key and the purpose, and from which nobody finds the key."""
        return hmac.new(self._key, purpose.encode(), hashlib.sha256).hexdigest()[:32]

    def encrypt(self, text: str) -> bytes:
        return self._fernet.encrypt(text.encode())

    def opened(self, token: bytes) -> str:
        """The same as :meth:`decrypt`, remembered: for secrets that are needed again with nearly each request.

        What comes out of a token never changes, and whoever can read this process's memory finds the key there.
        """
        text = self._opened.get(token)
        if text is None:
            text = self.decrypt(token)
            if len(self._opened) >= MOST_OPENED:
                del self._opened[next(iter(self._opened))]
            self._opened[token] = text
        return text

    def decrypt(self, token: bytes) -> str:
        """Return the text; raise :class:`WrongSecretKeyError` when it was encrypted with another key."""
        try:
            return self._fernet.decrypt(token).decode()
        except InvalidToken:
            raise WrongSecretKeyError(
                "A secret in the database was encrypted with another key: set OUTDIAL_SECRET_KEY to the key in use "
                f"when it was stored, or put the {KEY_FILE} of that data folder back."
            ) from None


def hep_key(settings: Settings, secrets: SecretBox) -> str:
    """Return the key of HEP packets: whoever shares the secret key need not be told it."""
    given = settings.watchdog_key
    return secrets.derive("hep") if given is None else given.get_secret_value()


def key_text(settings: Settings) -> str | None:
    """Return the key itself, for whoever keeps it elsewhere; None where there is none yet. Raises StartupError."""
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().strip()
    path = settings.data_dir / KEY_FILE
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartupError(f"The secret key {path} cannot be read ({error.strerror}).") from error


def keep_key(settings: Settings, key: str) -> None:
    """Put a key in the data folder that has none. Raises FileExistsError when it has one, OSError, StartupError for
    what is no key."""
    SecretBox(key)
    path = settings.data_dir / KEY_FILE
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    _link(path, key.encode("ascii"))


def load_secret_box(settings: Settings) -> SecretBox:
    """Return the box of this installation, making the key file on first use; raise StartupError when it cannot."""
    if settings.secret_key is not None:
        return SecretBox(settings.secret_key.get_secret_value().strip())
    path = settings.data_dir / KEY_FILE
    try:
        return SecretBox(_read_or_make(path))
    except OSError as error:
        raise StartupError(
            f"The secret key {path} cannot be used ({error.strerror}): set OUTDIAL_DATA_DIR to a folder this account "
            "may write, or set OUTDIAL_SECRET_KEY."
        ) from error


def _read_or_make(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        pass
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        # of two processes that start at once, one key wins and both use it
        _link(path, base64.urlsafe_b64encode(os.urandom(32)))
    return path.read_text(encoding="ascii").strip()


def _link(path: Path, key: bytes) -> None:
    """Write a key's file, whole or not at all. Raises FileExistsError when there is one, OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # link fails where the name exists
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
