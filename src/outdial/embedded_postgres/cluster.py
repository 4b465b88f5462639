"""The files of a cluster: making it, its configuration, what its logs say went wrong."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from outdial.core.errors import StartupError
from outdial.embedded_postgres.account import Account

SUPERUSER: Final = "postgres"
ROLE: Final = "outdial"
"""The role outdial works as; it owns its database and nothing else."""

DATABASE: Final = "outdial"
PORT: Final = 5432
"""Only part of the socket's file name: the server has no TCP port."""

_LOG_BYTES: Final = 10_000_000
"""A log beyond this size is put aside at the next start."""

_CONFIGURATION: Final = """\
# Written by outdial at every start. Your own settings belong in local.conf beside this file; they win.
listen_addresses = ''
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
max_connections = 200
shared_buffers = {shared_buffers}
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
# rows and statements hold phone numbers: the log tells what went wrong, never with whose data
log_error_verbosity = terse
log_min_error_statement = panic
log_parameter_max_length_on_error = 0
include_if_exists = 'local.conf'
"""


def write_configuration(cluster: Path, sockets: Path, account: Account, *, durable: bool) -> None:
    """Write the server's configuration anew; ``local.conf`` of the operator is read after it."""
    text = _CONFIGURATION.format(
        port=PORT,
        sockets=str(sockets).replace("'", "''"),
        shared_buffers="128MB" if durable else "32MB",
        durable="on" if durable else "off",
    )
    _write(cluster / "postgresql.conf", text, account)
    _write(cluster / "pg_hba.conf", "local all all scram-sha-256\n", account)


def _write(path: Path, text: str, account: Account) -> None:
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    own(draft, account)
    draft.replace(path)


def own(path: Path, account: Account) -> None:
    """Give the path to the server's account."""
    if path.stat().st_uid != account.owner:
        os.chown(path, account.owner, account.gid)


async def initialise(
    folder: Path, cluster: Path, program: Path, account: Account, password: str, *, durable: bool
) -> None:
    """Make a cluster, all or nothing: it gets its name only once it is whole."""
    draft = folder / "cluster.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    own(draft, account)
    descriptor, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(password)
        own(Path(name), account)
        code, errors = await account.run(
            draft,
            program,
            f"--pgdata={draft}",
            f"--username={SUPERUSER}",
            f"--pwfile={name}",
            "--auth=scram-sha-256",
            "--data-checksums",
            "--encoding=UTF8",
            # sorts and folds case alike on every machine and after every upgrade of the C library
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(() if durable else ("--no-sync",)),
        )
        if code != 0:
            raise StartupError(explain(errors, folder))
        _publish(draft, cluster)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108
        shutil.rmtree(draft, ignore_errors=True)


def _publish(draft: Path, cluster: Path) -> None:
    if cluster.exists():
        cluster.rmdir()
    draft.rename(cluster)


def explain(errors: str, folder: Path) -> str:
    """Return the sentence for what PostgreSQL's programs printed before they gave up."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "error:", "could not"))]
    reason = (telling or lines or ["no message"])[-1]
    return f"PostgreSQL does not start in {folder}: {reason}"
