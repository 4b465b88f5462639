"""Start one program as the account the cluster belongs to, then get out of the way (``execve``).

Run as a file by a bare interpreter (``python -I -S launcher.py …``), so it may use the standard library alone and
must not import outdial. PostgreSQL refuses to run as root, and root's folders are often closed to everybody else;
the ways around that, from the plainest to the last resort:

``same``        no change of account (outdial itself does not run as root)
``account``     an unprivileged account
``read-search`` the same plus CAP_DAC_READ_SEARCH, so folders only root may enter do not stop the server
``override``    the same with CAP_DAC_OVERRIDE, for containers that keep that one only
``namespace``   root, called by another number inside a user namespace; needs no capability

Usage: ``launcher.py WAY UID GID DETACH FOLDER PROGRAM [ARGUMENT …]``. FOLDER must be readable that way. DETACH is
``1`` for a server that outlives its starter: own session, parent returns at once. Exit code 97: this way is not
possible here, the reason is on standard error.
"""

from __future__ import annotations

import ctypes
import os
import sys

IMPOSSIBLE = 97
"""Exit code: this way of running the server is not possible here."""

ACCOUNT_WAYS = ("account", "read-search", "override")
"""Ways that need an unprivileged account, plainest first."""

# <linux/capability.h>, <linux/prctl.h>, <linux/securebits.h>, <linux/sched.h>
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_PR_SET_SECUREBITS = 28
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CLONE_NEWUSER = 0x10000000

_CAPABILITIES = {"read-search": _CAP_DAC_READ_SEARCH, "override": _CAP_DAC_OVERRIDE}


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _become(uid: int, gid: int, capability: int | None) -> None:
    """Change the account for good, keeping at most one capability, also over execve."""
    libc = ctypes.CDLL(None, use_errno=True)
    if capability is not None:
        # access(2) ignores the capabilities of other accounts than root unless this bit is set, and PostgreSQL
        # looks for its own program with it; the bit also keeps the capabilities over setresuid
        _checked(libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0), "prctl(PR_SET_SECUREBITS)")
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if capability is not None:
        mask = 1 << capability
        sets = (_Sets * 2)(_Sets(mask, mask, mask), _Sets(0, 0, 0))
        header = _Header(_CAPABILITY_VERSION_3, 0)
        _checked(libc.capset(ctypes.byref(header), ctypes.byref(sets)), "capset")
        raised = libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
        _checked(raised, "prctl(PR_CAP_AMBIENT_RAISE)")


def _enter_namespace(uid: int, gid: int) -> None:
    """Stay root for the machine's files, yet be called ``uid``: PostgreSQL only asks for the number."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.unshare(_CLONE_NEWUSER), "unshare(CLONE_NEWUSER)")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs start-up time
            file.write(text)


def main(arguments: list[str]) -> None:
    """Change the account as told and become the program."""
    way, uid, gid, detach, folder, program = arguments[0], int(arguments[1]), int(arguments[2]), *arguments[3:6]
    try:
        if way == "namespace":
            _enter_namespace(uid, gid)
        elif way != "same":
            _become(uid, gid, _CAPABILITIES.get(way))
        os.listdir(folder)  # noqa: PTH208 - as above
        os.umask(0o077)
        os.chdir("/")
        if detach == "1":
            if os.fork() > 0:
                os._exit(0)
            os.setsid()
        os.execv(program, arguments[5:])  # noqa: S606 - the caller names the program, there is no shell
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(IMPOSSIBLE)


if __name__ == "__main__":
    main(sys.argv[1:])
