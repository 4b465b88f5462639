"""The files of a cluster: making them, the server's configuration, the sentence for what its log says went wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from outdial.core.errors import StartupError
from outdial.embedded_postgres.account import Account

SUPERUSER: Final = "postgres"
ROLE: Final = "outdial"
"""The role outdial works as; it owns its database and may do nothing beyond it."""

DATABASE: Final = "outdial"
PORT: Final = 5432
"""Part of the socket's file name only: the server has no TCP port."""

_SOCKET: Final = f".s.PGSQL.{PORT}"

_LOG_BYTES: Final = 10_000_000
"""A log beyond this size is put aside at the next start."""

_LONGEST_SOCKET_PATH: Final = 107
"""Bytes of ``sun_path`` less its final zero (<sys/un.h>)."""

_CONFIGURATION: Final = """\
# Written by outdial at every start. Your own settings belong in local.conf beside this file; they win.
listen_addresses = ''
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
max_connections = 200
shared_buffers = {shared_buffers}
# whoever looks back into old attempts locks every month of them, with its indexes
max_locks_per_transaction = 256
# files of its own: a small /dev/shm (containers) or its clearing at log-out (systemd's RemoveIPC) cannot hurt
dynamic_shared_memory_type = mmap
synchronous_commit = {durable}
fsync = {durable}
full_page_writes = {durable}
wal_compression = on
random_page_cost = 1.1
jit = off
# queues churn: many small vacuums instead of a rare long one
autovacuum_naptime = 10s
autovacuum_vacuum_scale_factor = 0.05
autovacuum_vacuum_cost_limit = 1000
timezone = 'UTC'
lc_messages = 'C'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %a '
log_checkpoints = off
# rows and statements hold phone numbers: the log says what went wrong, never with whose data
log_error_verbosity = terse
log_min_error_statement = panic
log_parameter_max_length_on_error = 0
include_if_exists = 'local.conf'
"""


class Cluster:
    """Where everything of one embedded server lies, below ``<data folder>/postgres``."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir.resolve() / "postgres"
        self.data = self.folder / "cluster"
        """PostgreSQL's own folder (PGDATA); belongs to the server's account."""
        self.log = self.folder / "server.log"
        self.start_lock = self.folder / "start.lock"
        self.users_lock = self.folder / "users.lock"
        self.server_lock = self.folder / "server.lock"
        self._password = self.folder / "password"

    def make_folders(self) -> None:
        """Make what is missing; others may pass through (the server's account must), nobody may look in."""
        self.folder.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o711, exist_ok=True)
        self.data.mkdir(mode=0o700, exist_ok=True)

    @property
    def initialised(self) -> bool:
        return (self.data / "PG_VERSION").exists()

    def password(self) -> str:
        """Return the password of both roles, drawn before the cluster is made. Raises StartupError when it is lost."""
        try:
            return self._password.read_text(encoding="ascii")
        except FileNotFoundError:
            if self.initialised:
                raise StartupError(
                    f"The password of the database is missing: put {self._password} back from your backup."
                ) from None
        password = secrets.token_urlsafe(32)
        _write(self._password, password)
        return password

    async def initialise(
        self, program: Path, account: Account, password: str, *, durable: bool, keep: Sequence[int]
    ) -> None:
        """Make the cluster, all or nothing: it gets its name only once it is whole. Raises StartupError.

        The descriptors in ``keep`` are held by initdb too, so nobody tidies up while one of a killed starter runs on.
        """
        draft = self.folder / "cluster.new"
        password_file = self.folder / "password.new"
        _remove(draft, password_file)
        try:
            _make_draft(draft, account)
            # initdb reads it as the server's account, which may not read ours
            _write(password_file, password, account)
            outcome = await account.run(
                draft,
                program,
                f"--pgdata={draft}",
                f"--username={SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--data-checksums",
                "--encoding=UTF8",
                # sorts and folds case alike on every machine and after every upgrade of the C library
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *(() if durable else ("--no-sync",)),
                keep=keep,
            )
            if outcome.code != 0:
                raise StartupError(self.explain(outcome.errors))
            draft.replace(self.data)
        finally:
            _remove(draft, password_file)

    def refuse_other_version(self, version: str) -> None:
        """Raise StartupError when the cluster was made by another major version than ``postgres --version`` says."""
        found = re.search(r"\d+", version)
        ours = found.group() if found else version
        theirs = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if theirs != ours:
            raise StartupError(
                f"The database in {self.data} was made by PostgreSQL {theirs}, this outdial brings {ours}: install "
                f"embedded-postgres {theirs}.* to go on with it; to move, pg_dump it with {theirs} and restore it into "
                "a new OUTDIAL_DATA_DIR or a server named by OUTDIAL_DATABASE_URL."
            )

    def make_socket_folder(self, account: Account) -> Path:
        """Return a private folder for the socket, short enough for its address, the same one at every start."""
        folder = self.folder / "run"
        if len(os.fsencode(folder / _SOCKET)) > _LONGEST_SOCKET_PATH:
            # /run is safe from strangers and from cleaners of /tmp, but only root may write there
            parent = Path("/run") if os.geteuid() == 0 and os.access("/run", os.W_OK) else Path("/tmp")  # noqa: S108
            folder = parent / f"outdial-{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]}"
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {account.owner, os.geteuid()}:
                raise StartupError(
                    f"{folder} should be the private folder of outdial's database but belongs to somebody else: remove "
                    "it, or set OUTDIAL_DATA_DIR to a folder with a shorter path."
                ) from None
            folder.chmod(0o700)
        account.own(folder)
        return folder

    def clear_traces(self, sockets: Path) -> None:
        """Remove what a killed server has left; only for the holder of ``server.lock``.

        PostgreSQL would look whether the process numbers in these files live, and refuse to start when one has been
        given to somebody else, which is the rule in containers, where numbers start anew.
        """
        for path in (self.data / "postmaster.pid", sockets / _SOCKET, sockets / f"{_SOCKET}.lock"):
            path.unlink(missing_ok=True)

    def write_configuration(self, sockets: Path, account: Account, *, durable: bool) -> None:
        """Write the server's configuration anew; the operator's ``local.conf`` is read after it."""
        text = _CONFIGURATION.format(
            port=PORT,
            sockets=str(sockets).replace("'", "''"),
            shared_buffers="128MB" if durable else "32MB",
            durable="on" if durable else "off",
        )
        _write(self.data / "postgresql.conf", text, account)
        _write(self.data / "pg_hba.conf", "local all all scram-sha-256\n", account)

    def open_log(self) -> int:
        """Return a descriptor that appends to the server's log, after putting an overlong one aside."""
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        return os.open(self.log, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def explain(self, text: str) -> str:
        """Return the sentence for what PostgreSQL's programs printed before they gave up."""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        # the operator's own file first, then what ended it, then any other complaint
        telling = [line for mark in _TELLING for line in lines if re.search(mark, line)]
        reason = re.sub(r"^.*?(?:FATAL|PANIC|LOG|error): +", "", (telling or lines or ["it said nothing"])[0])
        for number in _REMEDIES:
            if os.strerror(number) in text:
                return self.remedy(number)
        return f"PostgreSQL does not start in {self.folder}: {reason}. Its whole log: {self.log}"

    def remedy(self, number: int) -> str:
        """Return the sentence for an error number that a file operation in the folder met."""
        what = os.strerror(number)
        return f"The database folder {self.folder} cannot be used ({what}): {_REMEDIES.get(number, _ANOTHER_FOLDER)}."


_TELLING: Final = (r"local\.conf", "PANIC", "FATAL", "error:", "could not")

_ANOTHER_FOLDER: Final = "set OUTDIAL_DATA_DIR to a folder this account may write"

_REMEDIES: Final = {
    errno.ENOSPC: "free some space on its disk, or set OUTDIAL_DATA_DIR to another disk",
    errno.EDQUOT: "free some space within its quota, or set OUTDIAL_DATA_DIR to another disk",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "mount its disk writable, or set OUTDIAL_DATA_DIR to another one",
    errno.EIO: "check its disk, or set OUTDIAL_DATA_DIR to another one",
    errno.ENOMEM: "free some memory",
}


def _make_draft(draft: Path, account: Account) -> None:
    draft.mkdir(mode=0o700)
    account.own(draft)


def _remove(draft: Path, password: Path) -> None:
    password.unlink(missing_ok=True)
    if draft.exists():
        shutil.rmtree(draft)


def _write(path: Path, text: str, account: Account | None = None) -> None:
    """Write a file for its owner alone; it appears whole and stays over a power cut."""
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if account is not None:
            account.own(draft)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
