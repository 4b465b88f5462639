"""As whom the server runs, and how: PostgreSQL refuses root, and root's folders are often closed to all others."""

from __future__ import annotations

import asyncio
import os
import pwd
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

_KEPT_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Account:
    """The server's account and the way to it, see :mod:`outdial.embedded_postgres.launcher`."""

    way: str
    uid: int
    gid: int
    owner: int
    """Owner of the cluster's files as this process sees them."""

    def command(self, folder: Path, program: Path, *arguments: str, detach: bool = False) -> list[str]:
        """Return the command line that runs the program as this account."""
        return [
            *(sys.executable, "-I", "-S", launcher.__file__),
            *(self.way, str(self.uid), str(self.gid), "1" if detach else "0", str(folder), str(program)),
            *arguments,
        ]

    async def run(
        self,
        folder: Path,
        program: Path,
        *arguments: str,
        detach: bool = False,
        output: int = PIPE,
        keep: Sequence[int] = (),
    ) -> tuple[int, str]:
        """Run the program to its end (to its start when detached); return exit code and standard error.

        Output of a detached program goes to the descriptor ``output``; descriptors in ``keep`` stay open in it.
        """
        process = await asyncio.create_subprocess_exec(
            *self.command(folder, program, *arguments, detach=detach),
            stdin=DEVNULL,
            stdout=output if detach else DEVNULL,
            stderr=output,
            pass_fds=tuple(keep),
            cwd="/",
            env=environment(),
            # Ctrl-C in our terminal is not meant for the database
            start_new_session=True,
        )
        _, errors = await process.communicate()
        return process.returncode or 0, (errors or b"").decode(errors="replace")


def environment() -> dict[str, str]:
    """Return the server's environment: no PG… variable and no foreign locale may reach it."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


async def choose(folder: Path, program: Path) -> Account:
    """Return the account and the plainest way that can enter ``folder`` and run ``program``.

    An existing folder keeps the account it belongs to. Raises StartupError when there is no way.
    """
    me = os.geteuid()
    owner = os.stat(folder).st_uid  # noqa: PTH116 - pathlib counts as blocking here
    if me != 0:
        if owner != me:
            raise StartupError(
                f"The database in {folder} belongs to account {_name(owner)}, outdial runs as {_name(me)}: run outdial "
                "as that account or set OUTDIAL_DATA_DIR to a folder of your own."
            )
        return Account("same", me, os.getegid(), owner)
    reasons: list[str] = []
    for account in _candidates(owner if os.listdir(folder) else None):  # noqa: PTH208 - as above
        os.chown(folder, account.owner, account.gid if account.owner else 0)
        code, errors = await account.run(folder, program, "--version")
        if code == 0:
            return account
        reasons.append(f"{account.way}: {errors.strip().splitlines()[-1] if errors.strip() else f'exit code {code}'}")
    raise StartupError(
        f"PostgreSQL does not run as root, and no other account may use {folder} and {program} "
        f"({'; '.join(reasons)}): set OUTDIAL_DATA_DIR to a folder other accounts may enter (for example one below "
        "/var/lib), or run outdial as an ordinary user, or set OUTDIAL_DATABASE_URL."
    )


def _candidates(owner: int | None) -> list[Account]:
    """Return what to try, best first; ``owner`` is that of an existing cluster, whose files stay as they are."""
    accounts: list[Account] = []
    if owner is None:
        entry = next((found for found in map(_find, _ACCOUNTS) if found is not None), None)
    elif owner != 0:
        entry = _find(owner) or (owner, owner)
    else:
        entry = None
    if entry is not None:
        uid, gid = entry
        accounts += [Account(way, uid, gid, uid) for way in ("account", "read-search", "override")]
    if not owner:
        uid, gid = next((found for found in map(_find, _ACCOUNTS) if found is not None), (65534, 65534))
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
