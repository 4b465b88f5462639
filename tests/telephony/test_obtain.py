"""Obtaining programs without root: what apt is told, what is made of a package, and the sentences when it cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from outdial.config import Settings
from outdial.core.errors import StartupError
from outdial.telephony import obtain, program
from outdial.telephony.obtain import CannotObtainError, Source, parse_sources
from outdial.telephony.program import find_asterisk

DEB822 = """\
# Debian's own
Types: deb deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: bookworm-security
Components: main
Architectures: amd64
"""


class TestDeb822:
    def test_each_stanza_is_a_source(self):
        first, second = parse_sources(DEB822, deb822=True)
        assert first.uris == "http://deb.debian.org/debian"
        assert first.suites == ("bookworm", "bookworm-updates")
        assert first.components == "main contrib"
        assert "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" in first.options
        assert second.options == "Architectures: amd64\n"

    @pytest.mark.parametrize("word", ["no", "No", "false"])
    def test_one_that_is_switched_off_is_not_used(self, word):
        assert (
            parse_sources(DEB822.replace("Types: deb\n", f"Enabled: {word}\nTypes: deb\n"), deb822=True)
            == (parse_sources(DEB822, deb822=True)[:1])
        )

    def test_sources_of_source_code_are_none(self):
        assert parse_sources("Types: deb-src\nURIs: http://x/\nSuites: sid\n", deb822=True) == []

    def test_a_key_that_stands_in_the_stanza_is_kept_with_its_lines(self):
        key = " -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----"
        text = f"Types: deb\nURIs: http://x/\nSuites: sid\nComponents: main\nSigned-By:\n{key}\n"
        (found,) = parse_sources(text, deb822=True)
        assert "mQINBF" in found.options
        assert parse_sources(found.stanza(), deb822=True) == [found]

    def test_comments_within_a_stanza_and_odd_case_are_read(self):
        text = "types: deb\n# why\nURIS: http://x/\nsuites: sid\n# more\nCOMPONENTS: main\n"
        (found,) = parse_sources(text, deb822=True)
        assert (found.uris, found.suites, found.components) == ("http://x/", ("sid",), "main")

    @pytest.mark.parametrize("text", ["", "\n\n\n", "nonsense", ":::\n", "Types: deb"])
    def test_nonsense_is_no_source_that_is_used(self, text, tmp_path):
        folder = tmp_path / "sources.list.d"
        folder.mkdir()
        (folder / "odd.sources").write_text(text)
        assert obtain.host_sources(tmp_path) == []


class TestOneLine:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("deb http://x/ sid main", Source("http://x/", ("sid",), "main", "")),
            ("  deb http://x/ sid main contrib non-free", Source("http://x/", ("sid",), "main contrib non-free", "")),
            ("deb http://x/ sid main # comment", Source("http://x/", ("sid",), "main", "")),
            (
                "deb [arch=amd64,arm64 signed-by=/k.gpg] https://x/ noble main",
                Source("https://x/", ("noble",), "main", "Architectures: amd64 arm64\nSigned-By: /k.gpg\n"),
            ),
            ("deb [trusted=yes] file:/srv/repo ./", Source("file:/srv/repo", ("./",), "", "Trusted: yes\n")),
            ("deb [lang=en] http://x/ sid main", Source("http://x/", ("sid",), "main", "")),
        ],
    )
    def test_lines(self, line, expected):
        assert parse_sources(line, deb822=False) == [expected]

    @pytest.mark.parametrize(
        "line", ["", "# deb http://x/ sid main", "deb-src http://x/ sid main", "deb", "deb http://x/"]
    )
    def test_other_lines_are_no_sources(self, line):
        assert parse_sources(line, deb822=False) == []

    def test_both_forms_say_the_same(self):
        (one,) = parse_sources("deb [signed-by=/k.gpg] http://x/ sid main", deb822=False)
        assert parse_sources(one.stanza(), deb822=True) == [one]


class TestHost:
    @pytest.fixture
    def etc(self, tmp_path) -> Path:
        folder = tmp_path / "apt"
        (folder / "sources.list.d").mkdir(parents=True)
        (folder / "sources.list").write_text("deb cdrom:[Debian]/ bookworm main\ndeb http://a/ bookworm main\n")
        (folder / "sources.list.d" / "debian.sources").write_text(DEB822)
        (folder / "sources.list.d" / "other.list").write_text("deb https://other.example/ bookworm main\n")
        (folder / "sources.list.d" / "backup.list.save").write_text("deb http://never/ bookworm main\n")
        return folder

    def test_every_file_that_apt_reads_is_read_and_no_other(self, etc):
        found = [source.uris for source in obtain.host_sources(etc)]
        assert found == [
            "http://a/",
            "http://deb.debian.org/debian",
            "http://deb.debian.org/debian-security",
            "https://other.example/",
        ]

    def test_a_machine_without_any_has_none(self, tmp_path):
        assert obtain.host_sources(tmp_path / "missing") == []

    def test_only_the_distributions_own_suites_are_asked(self):
        sources = [
            Source("http://own/", ("bookworm", "bookworm-updates"), "main", ""),
            Source("http://security/", ("bookworm-security",), "main", ""),
            Source("http://theirs/", ("stable-thing",), "main", ""),
            Source("http://flat/", ("./",), "", ""),
        ]
        assert [one.uris for one in obtain.distribution_sources(sources, "bookworm")] == [
            "http://own/",
            "http://security/",
        ]

    def test_sid_is_looked_for_where_the_release_came_from(self):
        sources = [
            Source("http://own/", ("bookworm",), "main contrib", "Signed-By: /k.gpg\n"),
            Source("http://theirs/", ("other",), "main", ""),
        ]
        assert obtain.sid_sources(sources, "bookworm") == [
            Source("http://own/", ("sid",), "main", "Signed-By: /k.gpg\n")
        ]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("ID=debian\nVERSION_CODENAME=bookworm\n", {"ID": "debian", "VERSION_CODENAME": "bookworm"}),
            ('PRETTY_NAME="Debian GNU/Linux 12"\n', {"PRETTY_NAME": "Debian GNU/Linux 12"}),
            ("# comment\n\nnothing\n", {}),
            ('URL="https://x/?a=b"\n', {"URL": "https://x/?a=b"}),
        ],
    )
    def test_what_the_system_says_of_itself(self, text, expected):
        assert obtain.os_release(text) == expected


def make_tree(folder: Path, *, program_path: str = "usr/sbin/asterisk") -> Path:
    """A tree with a loader that only says what it was asked to run."""
    loader = folder / "lib64" / "ld-linux-x86-64.so.2"
    loader.parent.mkdir(parents=True)
    loader.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    loader.chmod(0o755)
    (folder / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    target = folder / program_path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("a program")
    return folder


class TestTree:
    def test_a_program_runs_by_the_trees_own_loader_and_libraries(self, tmp_path):
        tree = make_tree(tmp_path / "tree")
        command = obtain.tree_command(tree, "usr/sbin/asterisk")
        assert command[0] == str(tree / "lib64/ld-linux-x86-64.so.2")
        assert command[1] == "--library-path"
        assert str(tree / "usr/lib/x86_64-linux-gnu") in command[2].split(os.pathsep)
        assert command[-1] == str(tree / "usr/sbin/asterisk")

    def test_without_loader_or_program_there_is_no_command(self, tmp_path):
        tree = make_tree(tmp_path / "tree")
        assert obtain.tree_command(tree, "usr/bin/other") is None
        shutil.rmtree(tree / "lib64")
        assert obtain.tree_command(tree, "usr/sbin/asterisk") is None

    @pytest.mark.parametrize("name", ["sipp", "spin"])
    def test_its_wrapper_works_wherever_the_tree_lies(self, tmp_path, name):
        tree = make_tree(tmp_path / "tree", program_path=f"usr/bin/{name}")
        obtain._write_wrapper(tree, f"usr/bin/{name}")
        moved = tmp_path / "moved with spaces"
        tree.rename(moved)
        link = tmp_path / "link"
        link.symlink_to(moved / name)
        done = subprocess.run([link, "-v", "a b"], capture_output=True, text=True, check=True)
        words = done.stdout.splitlines()
        assert words[0] == "--library-path"
        assert words[-3:] == [str(moved / "usr/bin" / name), "-v", "a b"]

    def test_the_voice_of_a_tree_finds_its_data_in_it(self, tmp_path):
        tree = make_tree(tmp_path / "tree", program_path="usr/bin/espeak-ng")
        (tree / "lib64/ld-linux-x86-64.so.2").write_text('#!/bin/sh\necho "$ESPEAK_DATA_PATH"\n')
        (tree / "usr/lib/x86_64-linux-gnu/espeak-ng-data").mkdir()
        obtain._write_wrapper(tree, "usr/bin/espeak-ng")
        moved = tmp_path / "moved with spaces"
        tree.rename(moved)
        done = subprocess.run([moved / "espeak-ng"], capture_output=True, text=True, check=True)
        assert done.stdout == f"{moved}/usr/lib/x86_64-linux-gnu/espeak-ng-data\n"

    @pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="makes and unpacks a Debian package")
    def test_a_package_is_unpacked_without_its_documentation(self, tmp_path):
        root = tmp_path / "root"
        for name in ("usr/bin/tool", "usr/share/doc/tool/README", "usr/share/man/man1/tool.1", "etc/tool.conf"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)
        (root / "DEBIAN").mkdir()
        (root / "DEBIAN/control").write_text(
            "Package: tool\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.net>\nDescription: x\n"
        )
        archive = tmp_path / "tool.deb"
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", root, archive], check=True, capture_output=True)
        tree = tmp_path / "tree"
        obtain.unpack([archive], tree)
        found = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
        assert found == {"usr/bin/tool", "etc/tool.conf"}

    @pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="unpacks a Debian package")
    def test_a_package_that_is_damaged_is_named(self, tmp_path):
        archive = tmp_path / "broken.deb"
        archive.write_bytes(b"no package")
        with pytest.raises(CannotObtainError, match=r"broken\.deb cannot be unpacked"):
            obtain.unpack([archive], tmp_path / "tree")

    def test_what_a_command_prints_is_returned_whatever_its_exit_code(self):
        assert obtain._output(["sh", "-c", "echo out; echo err >&2; exit 99"]) == "out\nerr\n"
        assert "No such file" in obtain._output(["/nowhere/program"])


class TestForTests:
    """Programs that only tests need: sipp, spin and espeak-ng."""

    def test_one_on_path_is_taken(self, tmp_path, monkeypatch):
        own = tmp_path / "bin" / "spin"
        own.parent.mkdir()
        own.write_text("#!/bin/sh\n")
        own.chmod(0o755)
        monkeypatch.setenv("PATH", str(own.parent))
        assert obtain.obtain_spin(tmp_path / "cache") == str(own)

    @pytest.mark.parametrize(
        ("name", "get"),
        [("sipp", obtain.obtain_sipp), ("spin", obtain.obtain_spin), ("espeak-ng", obtain.obtain_espeak)],
    )
    def test_without_apt_it_says_what_to_install(self, tmp_path, monkeypatch, name, get):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(CannotObtainError, match=f"{name} cannot be downloaded here .*install it"):
            get(tmp_path / "cache")
        kept = tmp_path / "cache" / name
        kept.parent.mkdir()
        kept.touch()
        assert get(tmp_path / "cache") == str(kept)


class TestProgram:
    def script(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def settings(self, tmp_path, command: Path) -> Settings:
        return Settings(_env_file=None, data_dir=tmp_path, asterisk_command=command)

    def installed(self, tmp_path, text: str) -> Path:
        prefix = tmp_path / "opt"
        (prefix / "lib/asterisk/modules").mkdir(parents=True)
        (prefix / "share/asterisk").mkdir(parents=True)
        return self.script(prefix / "sbin/asterisk", text)

    async def test_one_that_is_new_enough_is_taken(self, tmp_path):
        command = self.installed(tmp_path, "echo Asterisk 22.9.0")
        found = await find_asterisk(self.settings(tmp_path, command))
        assert found.command == (str(command),)
        assert found.version == "Asterisk 22.9.0"
        assert found.modules == tmp_path / "opt/lib/asterisk/modules"

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("echo Asterisk 16.28.0", "is Asterisk 16.28.0, outdial needs 22 or newer"),
            ("echo something else", "does not run"),
            ("exit 1", "does not run"),
        ],
    )
    async def test_one_that_is_not_says_why(self, tmp_path, text, sentence):
        with pytest.raises(StartupError, match=sentence):
            await find_asterisk(self.settings(tmp_path, self.installed(tmp_path, text)))

    async def test_one_that_never_answers_is_not_waited_for(self, tmp_path, monkeypatch):
        monkeypatch.setattr(program, "_VERSION_SECONDS", 0.2)
        command = self.installed(tmp_path, "exec sleep 60")
        with pytest.raises(StartupError, match="no answer to -V"):
            await find_asterisk(self.settings(tmp_path, command))

    async def test_one_without_modules_is_none(self, tmp_path, monkeypatch):
        monkeypatch.setattr(program, "_MODULE_FOLDERS", ("nowhere/*",))
        command = self.script(tmp_path / "bin/asterisk", "echo Asterisk 22.9.0")
        with pytest.raises(StartupError, match="no Asterisk with its modules"):
            await find_asterisk(self.settings(tmp_path, command))
