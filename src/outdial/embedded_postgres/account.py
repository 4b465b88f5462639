"""As whom the server runs, and how: PostgreSQL refuses root, and root's folders are often closed to all others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outdial.core.errors import StartupError
from outdial.embedded_postgres import launcher

_ACCOUNTS: Final = ("outdial", "postgres", "nobody")
"""Accounts tried in this order when outdial runs as root."""

_NOBODY: Final = (65534, 65534)
_KEPT_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class Account:
    """The server's account and the way to it, see :mod:`outdial.embedded_postgres.launcher`."""

    way: str
    uid: int
    gid: int
    owner: int
    """Owner of the cluster's files as this process sees them."""

    def own(self, path: Path) -> None:
        """Give the path to the account."""
        if path.stat().st_uid != self.owner:
            os.chown(path, self.owner, self.gid)

    async def run(self, folder: Path, program: Path, *arguments: str, keep: Sequence[int] = ()) -> Outcome:
        """Run the program to its end; ``folder`` is what it must be able to enter.

        The descriptors in ``keep`` stay open in it and in its children. On cancel all of them are killed.
        """
        process = await self._spawn(folder, program, arguments, detach=False, output=PIPE, keep=keep)
        try:
            output, errors = await process.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        return Outcome(process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace"))

    async def launch(self, folder: Path, program: Path, *arguments: str, output: int, keep: Sequence[int]) -> None:
        """Start the program in a session of its own and return at once; it writes to the descriptor ``output``.

        The descriptors in ``keep`` stay open in it and in its children.
        """
        process = await self._spawn(folder, program, arguments, detach=True, output=output, keep=keep)
        await process.wait()

    async def _spawn(
        self,
        folder: Path,
        program: Path,
        arguments: Sequence[str],
        *,
        detach: bool,
        output: int,
        keep: Sequence[int] = (),
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", launcher.__file__),
            *(self.way, str(self.uid), str(self.gid), "1" if detach else "0", str(folder), str(program)),
            *arguments,
            stdin=DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(keep),
            cwd="/",
            env=_environment(),
            # Ctrl-C in our terminal is not meant for the database
            start_new_session=True,
        )


def _environment() -> dict[str, str]:
    """Return the server's environment: no PG… variable and no foreign locale may reach it."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


async def choose(cluster: Path, program: Path) -> tuple[Account, str]:
    """Return the account that can enter the cluster and run the program, and what ``program --version`` says.

    An empty cluster is given to it; one with data keeps the account it belongs to. Of the ways for root the plainest
    that works is taken. Raises StartupError when there is none.
    """
    reasons: list[str] = []
    for account in candidates(cluster):
        try:
            account.own(cluster)
        except OSError as error:
            # a root of containers that may not give files away
            reasons.append(f"{account.way}: {error.strerror}")
            continue
        outcome = await account.run(cluster, program, "--version")
        if outcome.code == 0:
            return account, outcome.output.strip()
        message = outcome.errors.strip().splitlines()
        reasons.append(f"{account.way}: {message[-1] if message else f'exit code {outcome.code}'}")
    raise StartupError(_no_way(cluster, program, reasons))


def _no_way(cluster: Path, program: Path, reasons: Sequence[str]) -> str:
    tried = "; ".join(reasons)
    if os.geteuid() != 0:
        return f"{program} does not run here ({tried}): set OUTDIAL_DATABASE_URL to a PostgreSQL."
    return (
        f"PostgreSQL refuses to run as root, and no other account may use {cluster} and {program} ({tried}): set "
        "OUTDIAL_DATA_DIR to a folder that other accounts may enter, for example below /var/lib, or run outdial as an "
        "ordinary user, or set OUTDIAL_DATABASE_URL."
    )


def candidates(cluster: Path) -> list[Account]:
    """Return the accounts and ways to try, best first. Raises StartupError when the cluster is somebody else's."""
    me = os.geteuid()
    owner = cluster.stat().st_uid
    if me != 0:
        if owner != me:
            raise StartupError(
                f"The database in {cluster} belongs to account {_name(owner)}, but outdial runs as {_name(me)}: run "
                "outdial as that account, or set OUTDIAL_DATA_DIR to a folder of your own."
            )
        return [Account("same", me, os.getegid(), owner)]
    fresh = not any(cluster.iterdir())
    listed = [entry for entry in map(_find, _ACCOUNTS) if entry is not None]
    accounts: list[Account] = []
    if fresh or owner != 0:
        known = listed[:1] if fresh else [_find(owner) or (owner, owner)]
        accounts += [Account(way, uid, gid, uid) for uid, gid in known for way in launcher.ACCOUNT_WAYS]
    if fresh or owner == 0:
        uid, gid = (*listed, _NOBODY)[0]
        accounts.append(Account("namespace", uid, gid, 0))
    return accounts


def _find(account: str | int) -> tuple[int, int] | None:
    try:
        entry = pwd.getpwnam(account) if isinstance(account, str) else pwd.getpwuid(account)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
