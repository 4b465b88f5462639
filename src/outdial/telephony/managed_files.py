"""Files, folders, ports and numbers of the managed Asterisk."""

from __future__ import annotations

import array
import math
import os
import random
import re
import resource
import shutil
import socket
import stat
import wave
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from outdial.core.errors import StartupError
from outdial.telephony import loopback, managed_config
from outdial.telephony.call_records import keep_bounded
from outdial.telephony.managed_config import Layout

RTP_PORTS: Final = 4000
"""Ports per instance: two per call, four per call to the loopback carrier."""

_RTP_STARTS: Final = range(10_000, 30_000, RTP_PORTS)
"""Below the ports Linux gives to clients (32768 and up)."""

_PORTS: Final = range(30_000, 32_768)
"""Also below them: a client's connection must not sit on a port that a restart needs again."""

_LONGEST_SOCKET_PATH: Final = 107
_LOG_BYTES: Final = 20_000_000
_MAX_FILES: Final = 65_536
_RATE: Final = 8000

_FATAL: Final = re.compile(
    r"(could not be started.*|Unable to bind.*|already in use.*|Failed to bind.*|No space left.*|Error loading module.*"
    r"|Could not start .*|error while loading shared libraries.*|.*declined to load.*)"
)


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner may read, whole or not at all."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def write_all(layout: Layout) -> None:
    """Write the configuration and what it names. Raises StartupError when the disk does not take it."""
    try:
        for folder in ("conf", "lib", "lib/keys", "lib/sounds/en", "spool/recording", "log", "log/cel-custom"):
            (layout.folder / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("documentation", "rest-api"):
            link = layout.folder / "lib" / name
            link.unlink(missing_ok=True)
            link.symlink_to(layout.program.data / name)
        for name, text in managed_config.render(layout).items():
            write_private(layout.conf / name, text)
        if not (layout.conf / "tls.crt").exists():
            _write_certificate(layout.conf)
        sounds = layout.folder / "lib" / "sounds" / "en"
        _write_sound(sounds / f"{managed_config.GREETING}.wav", _murmur(loopback.GREETING_SECONDS) + _beep())
        _write_sound(sounds / f"{managed_config.HELLO}.wav", _murmur(loopback.HELLO_SECONDS) + _silence())
        console = layout.folder / "log" / "console"
        if console.exists() and console.stat().st_size > _LOG_BYTES:
            console.replace(console.with_name("console.1"))
        keep_bounded(layout.folder / "log" / "cel-custom")
    except OSError as error:
        raise StartupError(
            f"Asterisk's configuration cannot be written to {layout.folder}: {error.strerror}."
        ) from error


def run_folder(folder: Path) -> Path:
    """Return a private folder whose path is short enough for Asterisk's control socket. Raises StartupError."""
    run = _run_path(folder)
    run.mkdir(mode=0o700, exist_ok=True)
    found = run.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise StartupError(f"{run} is not a private folder of outdial's Asterisk: remove it.")
    return run


def clear_run_folder(folder: Path) -> None:
    """Leave nothing in a folder that belongs to everybody; only once Asterisk has ended."""
    run = _run_path(folder)
    if run.parent != folder:
        shutil.rmtree(run, ignore_errors=True)


def _run_path(folder: Path) -> Path:
    run = folder / "run"
    if len(os.fsencode(run / "asterisk.ctl")) <= _LONGEST_SOCKET_PATH:
        return run
    # not TMPDIR: its path may be long too. /run is safe from cleaners of /tmp, but only root may write there
    parent = Path("/run") if os.geteuid() == 0 and os.access("/run", os.W_OK) else Path("/tmp")  # noqa: S108
    return parent / f"outdial-asterisk-{sha256(os.fsencode(folder)).hexdigest()[:16]}"


def entity_id(engine_id: str) -> str:
    """Return Asterisk's entity id (six octets, as of a locally administered network card) for the engine."""
    octets = bytearray(sha256(engine_id.encode()).digest()[:6])
    octets[0] = octets[0] & 0xFC | 0x02
    return ":".join(f"{octet:02x}" for octet in octets)


def max_files() -> int:
    """Return how many files Asterisk may open: as many as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_FILES if hard == resource.RLIM_INFINITY else min(int(hard), _MAX_FILES)


def reserve_rtp(wanted: int | None) -> tuple[int, socket.socket]:
    """Return the first port of a free RTP range, and the socket that keeps others off it.

    The socket is handed on to Asterisk, which never uses it: the range is taken as long as it lives.
    """
    starts = [wanted - 2] if wanted is not None else []
    for start in (*starts, *_RTP_STARTS):
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            holder.bind(("127.0.0.1", start))
        except OSError:
            holder.close()
        else:
            return start + 2, holder
    raise StartupError("No free range of RTP ports: other outdial instances hold ports 10000 to 29999.")


def free_port(host: str, wanted: int, *, fixed: bool = False) -> int:
    """Return ``wanted`` if it is free for UDP and TCP, else any free one; a ``fixed`` one must be free.

    Raises StartupError.
    """
    family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET  # noqa: PLR2004 - IPv6
    reason = ""
    others: list[int] = [] if fixed else random.sample(_PORTS, 50)
    wishes = [wanted] if wanted else []
    for port in [*wishes, *others]:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp:
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tcp.bind((host, port))
                udp.bind((host, port))
                return port
        except OSError as error:
            reason = error.strerror or str(error)
    if fixed:
        raise StartupError(
            f"SIP port {wanted} on {host} cannot be had ({reason}): set OUTDIAL_SIP_PORT to another one."
        )
    raise StartupError(f"No port can be had on {host} ({reason}): check OUTDIAL_SIP_HOST.")


def read_from(path: Path, begin: int) -> str:
    """Return the text of a log from an offset on."""
    with path.open("rb") as file:
        file.seek(begin)
        return file.read().decode(errors="replace")


def explain(log: str) -> str | None:
    """Return what a log of a start says went wrong, None when nothing that matters."""
    lines = (line.partition(": ")[2] if line.startswith("[") else line for line in log.splitlines())
    return next((line.strip() for line in lines if _FATAL.search(line)), None)


def _write_certificate(folder: Path) -> None:
    """Make the certificate TLS needs at our end; carriers do not check it, since the line is told by its address."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "outdial")])
    begin = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    write_private(folder / "tls.key", private.decode())
    write_private(folder / "tls.crt", certificate.public_bytes(serialization.Encoding.PEM).decode())


def _write_sound(path: Path, samples: array.array[int]) -> None:
    """Write what a loopback phone says, unless it is there."""
    if path.exists():
        return
    draft = path.with_suffix(".part")
    with draft.open("wb") as raw, wave.open(raw, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes(samples.tobytes())
    shutil.move(draft, path)


def _murmur(seconds: float) -> array.array[int]:
    """Return a voice that says nothing, five syllables a second, without a pause."""
    samples = array.array("h")
    for index in range(int(seconds * _RATE)):
        at = index / _RATE
        syllable = 0.1 + 0.9 * abs(math.sin(5 * math.pi * at))
        voice = math.sin(2 * math.pi * 140 * at) + 0.5 * math.sin(2 * math.pi * 700 * at)
        samples.append(int(5000 * syllable * voice))
    return samples


def _silence() -> array.array[int]:
    """Return what a phone sends while somebody listens: Asterisk sends nothing where it plays nothing."""
    return array.array("h", bytes(2 * int(loopback.LISTENING_SECONDS * _RATE)))


def _beep() -> array.array[int]:
    count = int(loopback.BEEP_SECONDS * _RATE)
    return array.array("h", (int(9000 * math.sin(2 * math.pi * 1000 * index / _RATE)) for index in range(count)))
