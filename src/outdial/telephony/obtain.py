"""Get Asterisk, and sipp, spin and espeak-ng for the tests, without root and without touching the machine's packages.

``python src/outdial/telephony/obtain.py run|dev`` downloads the distribution's packages with an apt state of its own,
unpacks them (no maintainer script runs) to ``.cache/asterisk``, ``.cache/sipp``, ``.cache/spin`` and
``.cache/espeak-ng``, where they are run by their own loader and libraries. Nothing but the standard library is needed:
this runs before anything is installed.

Where packages come from is the machine's own affair: sources, keys and proxies are those of its apt; for Debian, whose
releases have no Asterisk, the same source with the suite ``sid``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

LEAST_VERSION: Final = 22
"""Older Asterisks lack ``tech_cause`` (the carrier's SIP status of a failed call)."""

CACHE: Final = Path(__file__).resolve().parents[3] / ".cache"

_VERSION: Final = re.compile(r"Asterisk (?:certified/)?(\d+)\.")
_SUITES: Final = frozenset({"oldstable", "stable", "testing", "unstable", "sid"})
_LOADERS: Final = (
    "usr/lib64/ld-linux-*.so.*",
    "usr/lib/ld-linux-*.so.*",
    "lib64/ld-linux-*.so.*",
    "lib/ld-linux-*.so.*",
)
_LIBRARIES: Final = (
    *("usr/lib/*-linux-gnu*", "lib/*-linux-gnu*", "usr/lib", "lib", "usr/lib64", "lib64"),
    # what espeak-ng could sound by has libraries of its own there
    "usr/lib/*-linux-gnu*/pulseaudio",
)
_SPEECH_DATA: Final = ("usr/lib/*-linux-gnu*/espeak-ng-data", "usr/lib/espeak-ng-data", "usr/share/espeak-ng-data")
"""Where the voices are; the program looks for them where its distribution has them, unless told."""
_LEFT_OUT: Final = ("./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*")
_MEGABYTE: Final = 1_000_000


class CannotObtainError(Exception):
    """The program cannot be had here; the sentence says what to do instead."""


@dataclass(frozen=True)
class Source:
    """One apt source: where packages of some suites are."""

    uris: str
    suites: tuple[str, ...]
    components: str
    options: str
    """Further lines of the deb822 stanza: whose signature counts, which architectures."""

    def stanza(self) -> str:
        """Return it in apt's deb822 form."""
        head = f"Types: deb\nURIs: {self.uris}\nSuites: {' '.join(self.suites)}\n"
        return head + (f"Components: {self.components}\n" if self.components else "") + self.options


# Running what was unpacked


def tree_command(tree: Path, program: str) -> tuple[str, ...] | None:
    """Return the command that runs a program of a tree by the tree's own loader, None when it is not there."""
    loader = first(tree, _LOADERS)
    if loader is None or not (tree / program).exists():
        return None
    libraries = [path for pattern in _LIBRARIES for path in sorted(tree.glob(pattern)) if path.is_dir()]
    return (str(loader), "--library-path", os.pathsep.join(map(str, libraries)), str(tree / program))


def first(root: Path, patterns: Sequence[str]) -> Path | None:
    """Return the first path that matches the first pattern that matches any."""
    return next((path for pattern in patterns for path in sorted(root.glob(pattern))), None)


def major_version(text: str) -> int | None:
    """Return the major number out of what ``asterisk -V`` prints, None when it is no such text."""
    found = _VERSION.search(text)
    return int(found.group(1)) if found else None


def _output(command: Sequence[str], environment: dict[str, str] | None = None) -> str:
    """Return all that a command prints, whatever its exit code (sipp -v ends with 99)."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout + done.stderr


# What apt knows


def parse_sources(text: str, *, deb822: bool) -> list[Source]:
    """Return the binary package sources of one of apt's files, in its newer (deb822) or its one-line form."""
    return list(_deb822(text) if deb822 else _one_line(text))


def _deb822(text: str) -> Iterator[Source]:
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in " \t" and name:
                fields[name] += f"\n{line}"
            elif ":" in line:
                key, _, value = line.partition(":")
                name = key.strip().lower()
                fields[name] = value.strip()
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() not in {"no", "false"}:
            kept = ("signed-by", "architectures", "trusted")
            options = "".join(f"{key.title()}: {fields[key]}\n" for key in kept if key in fields)
            yield Source(
                fields.get("uris", ""), tuple(fields.get("suites", "").split()), fields.get("components", ""), options
            )


def _one_line(text: str) -> Iterator[Source]:
    names = {"signed-by": "Signed-By", "arch": "Architectures", "trusted": "Trusted"}
    for line in text.splitlines():
        found = re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line.strip())
        if found is None:
            continue
        given = dict(option.split("=", 1) for option in (found.group(1) or "").split() if "=" in option)
        options = "".join(f"{names[key]}: {value.replace(',', ' ')}\n" for key, value in given.items() if key in names)
        yield Source(found.group(2), (found.group(3),), found.group(4).strip(), options)


def host_sources(etc: Path = Path("/etc/apt")) -> list[Source]:
    """Return what this machine's apt is told to use."""
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    found: list[Source] = []
    for path in files:
        if path.suffix in {".list", ".sources"}:
            with contextlib.suppress(OSError):
                found += parse_sources(
                    path.read_text(encoding="utf-8", errors="replace"), deb822=path.suffix != ".list"
                )
    return [source for source in found if source.uris and not source.uris.startswith("cdrom")]


def distribution_sources(sources: Sequence[Source], codename: str) -> list[Source]:
    """Return the distribution's own sources: other people's may be broken without anybody having noticed."""

    def own(suite: str) -> bool:
        return suite in _SUITES or suite == codename or suite.startswith(f"{codename}-")

    return [source for source in sources if any(own(suite) for suite in source.suites)]


def sid_sources(sources: Sequence[Source], codename: str) -> list[Source]:
    """Return the machine's Debian archives with the suite ``sid`` in place of its release, likeliest first."""
    archives = [
        source
        for source in sources
        if "main" in source.components.split() and _SUITES.union({codename}).intersection(source.suites)
    ]
    return [replace(source, suites=("sid",), components="main") for source in archives]


def os_release(text: str) -> dict[str, str]:
    """Return the fields of ``/etc/os-release``."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key: value.strip().strip('"') for key, _, value in pairs}


# Downloading and unpacking


class Apt:
    """apt with a state, cache and configuration of its own in ``folder``."""

    def __init__(self, folder: Path, sources: Sequence[Source]) -> None:
        self._folder = folder
        for name in ("lists/partial", "cache/archives/partial", "sources", "empty"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        stanzas = "\n".join(source.stanza() for source in sources)
        (folder / "sources" / "outdial.sources").write_text(stanzas, encoding="utf-8")
        # nothing counts as installed, so every library comes along, libc included
        (folder / "status").write_text("", encoding="utf-8")
        (folder / "apt.conf").write_text(self._configuration(), encoding="utf-8")
        self._environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C"}

    def _configuration(self) -> str:
        """Return apt's settings: of the machine's own only how to fetch (proxies); none of its hooks and pins."""
        fetching = [line for line in _output(["apt-config", "dump"]).splitlines() if line.startswith("Acquire")]
        folder = self._folder
        own = {
            "Dir::Etc::Parts": folder / "empty",
            "Dir::Etc::Main": "/dev/null",
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": folder / "sources",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": folder / "empty",
            "Dir::State": folder,
            "Dir::State::Lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Log": folder,
            "APT::Sandbox::User": "",
            "APT::Install-Recommends": "false",
            "APT::Architecture": _output(["dpkg", "--print-architecture"]).strip(),
            "Acquire::Languages": "none",
            # mirrors may be weeks behind; signatures are checked all the same
            "Acquire::Check-Valid-Until": "false",
            "Acquire::Retries": "3",
        }
        return "\n".join([*fetching, *(f'{key} "{value}";' for key, value in own.items())]) + "\n"

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=self._environment, check=False
        )
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("E:")] or [done.stderr.strip()]
            raise CannotObtainError(f"{arguments[0]} failed: {' '.join(errors)[:300]}")
        return done.stdout

    def update(self) -> None:
        """Fetch the lists of packages. Raises CannotObtainError."""
        self._run("apt-get", "-q", "update")

    def candidate(self, package: str) -> str:
        """Return the version that would be downloaded, "" when there is none."""
        found = re.search(r"Candidate: (?:\d+:)?(\S+)", self._run("apt-cache", "policy", package))
        return "" if found is None or found.group(1) == "(none)" else found.group(1)

    def download(self, package: str) -> list[Path]:
        """Download a package and all it needs; return the files. Raises CannotObtainError."""
        plan = self._run("apt-get", "-q", "--print-uris", "-y", "install", package)
        sizes = [int(size) for size in re.findall(r"^'[^']+' \S+ (\d+)", plan, re.MULTILINE)]
        archives = self._folder / "cache" / "archives"
        with _progress(f"{package}: downloading {len(sizes)} packages", archives, sum(sizes)):
            self._run("apt-get", "-q", "-y", "--download-only", "install", package)
        return sorted(archives.glob("*.deb"))


@contextlib.contextmanager
def _progress(what: str, folder: Path, total: int) -> Iterator[None]:
    """Say how far a download is: a line that grows on a terminal, one line elsewhere."""
    print(f"  {what}, {total / _MEGABYTE:.0f} MB", flush=True)
    done = threading.Event()

    def show() -> None:
        while not done.wait(0.5):
            size = 0
            for path in folder.rglob("*"):
                with contextlib.suppress(OSError):
                    size += path.stat().st_size
            print(f"\r  {min(size, total) / _MEGABYTE:5.0f} MB", end="", flush=True)

    watcher = threading.Thread(target=show, daemon=True)
    if sys.stdout.isatty():
        watcher.start()
    try:
        yield
    finally:
        done.set()
        if watcher.ident is not None:
            watcher.join()
            print("\r", end="")


def unpack(archives: Sequence[Path], tree: Path) -> None:
    """Unpack packages into a folder, without documentation. Raises CannotObtainError."""
    tree.mkdir(parents=True)
    left_out = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    for archive in archives:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as reader:
            command = ["tar", "-x", "-C", str(tree), "--no-same-owner", *left_out]
            written = subprocess.run(command, stdin=reader.stdout, check=False, capture_output=True)
        if reader.returncode or written.returncode:
            problem = written.stderr.decode(errors="replace").strip()[:200]
            raise CannotObtainError(f"{archive.name} cannot be unpacked to {tree}: {problem}")


# The programs


def obtain_asterisk(target: Path) -> str:
    """Return the version of the Asterisk in ``target``, downloaded first when it is not there.

    Raises CannotObtainError.
    """
    have = _asterisk_version(target)
    if have:
        return have
    release = _release()
    codename = release.get("VERSION_CODENAME", "")
    family = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    sources = distribution_sources(host_sources(), codename)
    if "ubuntu" in family:
        choices = [sources]
    elif "debian" in family:
        choices = [[source] for source in sid_sources(sources, codename)]
    else:
        choices = []
    problem = "this machine has no apt of Debian or Ubuntu"
    for choice in choices:
        try:
            _obtain("asterisk", choice, target, least_version=LEAST_VERSION)
        except CannotObtainError as error:
            problem = str(error)
            continue
        have = _asterisk_version(target)
        if have:
            return have
        shutil.rmtree(target, ignore_errors=True)
        problem = "what was downloaded does not run"
    raise CannotObtainError(
        f"Asterisk {LEAST_VERSION} cannot be downloaded here ({problem}): install Asterisk {LEAST_VERSION} or newer "
        "and put it on PATH, or set OUTDIAL_ASTERISK_URL to one that runs."
    )


def obtain_sipp(target: Path) -> str:
    """Return the command to run sipp, downloaded to ``target`` first when it is neither there nor on PATH.

    Raises CannotObtainError.
    """
    return _obtain_for_tests("sipp", "sip-tester", target)


def obtain_spin(target: Path) -> str:
    """Return the command to run spin, which checks the model of the stop, as :func:`obtain_sipp` does sipp's.

    Raises CannotObtainError.
    """
    return _obtain_for_tests("spin", "spin", target)


def obtain_espeak(target: Path) -> str:
    """Return the command to run espeak-ng, which speaks the texts of flows, as :func:`obtain_sipp` does sipp's.

    Raises CannotObtainError.
    """
    return _obtain_for_tests("espeak-ng", "espeak-ng", target)


def _obtain_for_tests(program: str, package: str, target: Path) -> str:
    on_path = shutil.which(program)
    if on_path is not None:
        return on_path
    if not (target / program).exists():
        if not _has_apt():
            raise CannotObtainError(f"{program} cannot be downloaded here (no apt): install it and put it on PATH.")
        try:
            sources = distribution_sources(host_sources(), _release().get("VERSION_CODENAME", ""))
            _obtain(package, sources, target, least_version=0)
        except CannotObtainError as error:
            raise CannotObtainError(
                f"{program} cannot be downloaded here ({error}): install it and put it on PATH."
            ) from error
    return str(target / program)


def _release() -> dict[str, str]:
    """Return the fields of ``/etc/os-release`` where there is an apt to use, none elsewhere."""
    path = Path("/etc/os-release")
    return os_release(path.read_text(encoding="utf-8")) if _has_apt() and path.exists() else {}


def _has_apt() -> bool:
    return shutil.which("apt-get") is not None and shutil.which("dpkg-deb") is not None


def _asterisk_version(tree: Path) -> str:
    """Return what the tree's Asterisk says of itself, "" when it is not there or too old."""
    command = tree_command(tree, "usr/sbin/asterisk")
    text = _output([*command, "-V"]).strip() if command else ""
    return text if (major_version(text) or 0) >= LEAST_VERSION else ""


def _obtain(package: str, sources: Sequence[Source], target: Path, *, least_version: int) -> None:
    """Download and unpack a package to ``target``, which appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists() and least_version == 0:
            return
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as name:
            folder = Path(name)
            # apt reads its folders as the user who runs it, and mkdtemp's 0700 is fine for that
            apt = Apt(folder / "apt", sources)
            print(f"  {package}: reading package lists", flush=True)
            apt.update()
            version = apt.candidate(package)
            major = int((re.match(r"\d+", version) or ["0"])[0])
            if not version or major < least_version:
                raise CannotObtainError(f"the newest {package} here is {version or 'none'}")
            archives = apt.download(package)
            tree = folder / "tree"
            unpack(archives, tree)
            for program in ("usr/sbin/asterisk", "usr/bin/sipp", "usr/bin/spin", "usr/bin/espeak-ng"):
                _write_wrapper(tree, program)
            tree.chmod(0o755)
            shutil.rmtree(target, ignore_errors=True)
            tree.rename(target)


def _write_wrapper(tree: Path, program: str) -> None:
    """Put a command for people and tests at the top of the tree, which works wherever the tree lies."""
    command = tree_command(tree, program)
    if command is None:
        return
    here = str(tree)
    words = (f'"{word.replace(here, "$here")}"' for word in command)
    wrapper = tree / Path(program).name
    data = first(tree, _SPEECH_DATA)
    voices = "" if data is None else f'export ESPEAK_DATA_PATH="$here/{data.relative_to(tree)}"\n'
    wrapper.write_text(
        f'#!/bin/sh\nhere=$(dirname "$(readlink -f "$0")")\n{voices}exec {" ".join(words)} "$@"\n', encoding="utf-8"
    )
    wrapper.chmod(0o755)


def main(arguments: Sequence[str]) -> int:
    """Obtain what ``run`` or ``dev`` needs; return the exit code."""
    developing = arguments[:1] == ["dev"]
    problems: list[str] = []
    if not developing and (os.environ.get("OUTDIAL_ASTERISK_URL") or os.environ.get("OUTDIAL_ASTERISK_COMMAND")):
        print("Asterisk: the one that is configured")
    else:
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
        own = shutil.which("asterisk", path=path)
        text = _output([own, "-V"]).strip() if own else ""
        try:
            found = text if (major_version(text) or 0) >= LEAST_VERSION else obtain_asterisk(CACHE / "asterisk")
            print(f"Asterisk: {found}")
        except CannotObtainError as error:
            problems.append(str(error))
    if developing:
        for name, obtain in (("sipp", obtain_sipp), ("spin", obtain_spin), ("espeak-ng", obtain_espeak)):
            try:
                print(f"{name}: {obtain(CACHE / name)}")
            except CannotObtainError as error:
                problems.append(str(error))
    for problem in problems:
        print(problem)
    if problems and not developing:
        print("outdial goes on with its simulated engine: no real calls.")
    return 1 if problems and developing and os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
