"""What the managed Asterisk is configured with, and the files it is made of."""

from __future__ import annotations

import re
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from outdial.telephony import managed_config, managed_files
from outdial.telephony.loopback import RULES
from outdial.telephony.managed_config import Layout, Watchdog, render


@pytest.fixture
def layout(tmp_path) -> Layout:
    import inspect  # noqa: PLC0415 - only here

    values = {
        "folder": tmp_path / "asterisk",
        "run": tmp_path / "run",
        "password": "s3cret-of-this-start",
        "sip_host": "127.0.0.1",
    }
    fields = inspect.signature(Layout).parameters
    known = {}
    for name, parameter in fields.items():
        if name in values:
            known[name] = values[name]
        elif name == "ports":
            known[name] = managed_config.Ports(
                **{port: 20000 + place for place, port in enumerate(inspect.signature(managed_config.Ports).parameters)}
            )
        elif name == "program":
            from outdial.telephony.program import AsteriskProgram  # noqa: PLC0415

            known[name] = AsteriskProgram(("asterisk",), tmp_path / "modules", tmp_path / "data", "Asterisk 22.1")
        elif parameter.default is not parameter.empty:
            continue
        else:
            known[name] = {"str": "x", "int": 1, "Path": tmp_path / name}.get(str(parameter.annotation), "x")
    (tmp_path / "modules").mkdir()
    return Layout(**known)


def test_every_address_it_binds_is_loopback(layout):
    for name, text in render(layout).items():
        for line in text.splitlines():
            found = re.match(r"\s*(bind|bindaddr|tlsbindaddr|rtpbindaddress)\s*=>?\s*(\S+)", line)
            if found:
                assert found[2].startswith(("127.0.0.1", "[::1]", "::1")), (name, line)


def test_all_phones_of_the_carrier_are_in_the_dialplan(layout):
    dialplan = render(layout)["extensions.conf"]
    for rule in RULES:
        assert rule.phone in dialplan or str(rule.sip_code or "") in dialplan, rule


def test_the_password_stands_in_one_file_only(layout):
    holding = [name for name, text in render(layout).items() if layout.password in text]
    assert holding == ["ari.conf"]


def test_the_api_answers_nobody_without_it(layout):
    text = render(layout)["ari.conf"]
    assert "read_only = no" in text or "read_only=no" in text
    assert re.search(r"password\s*=\s*s3cret-of-this-start", text)


def test_another_password_is_the_only_difference(layout):
    first, second = render(layout), render(replace(layout, password="another"))
    assert {name for name in first if first[name] != second[name]} == {"ari.conf"}


def test_only_a_watched_one_tells_what_it_sends(layout):
    assert "hep.conf" not in render(layout)
    assert "res_hep" not in render(layout)["modules.conf"]
    watched = replace(layout, watchdog=Watchdog("127.0.0.1", 9060, "key-of-hep-packets", "ast-1"))
    files = render(watched)
    assert "load = res_hep.so\nload = res_hep_pjsip.so\n" in files["modules.conf"]
    assert "capture_address = 127.0.0.1:9060\ncapture_password = key-of-hep-packets\n" in files["hep.conf"]
    assert "capture_name = ast-1\n" in files["hep.conf"]
    six = render(replace(layout, watchdog=Watchdog("::1", 9060, "key-of-hep-packets", "ast-1")))
    assert "capture_address = [::1]:9060\n" in six["hep.conf"]


def test_nothing_is_loaded_that_listens_by_itself(layout):
    text = render(layout)["modules.conf"]
    for unwanted in ("chan_iax2", "chan_sip.so", "chan_skinny", "manager_", "res_phoneprov"):
        assert not re.search(rf"^load\s*=>?\s*{unwanted}", text, re.MULTILINE)


class TestFiles:
    def test_what_is_private_is_read_by_its_owner_only(self, tmp_path):
        path = tmp_path / "secret"
        managed_files.write_private(path, "x")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        managed_files.write_private(path, "y")
        assert path.read_text() == "y"

    def test_written_configuration_is_private(self, layout):
        layout.folder.mkdir(parents=True, exist_ok=True)
        managed_files.write_all(layout)
        secret = [path for path in Path(layout.folder).rglob("*.conf") if layout.password in path.read_text()]
        assert secret
        for path in secret:
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path

    def test_a_free_port_is_free(self):
        port = managed_files.free_port("127.0.0.1", 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", port))
            tcp.bind(("127.0.0.1", port))

    def test_a_port_that_was_wanted_and_is_taken_is_another_unless_it_is_fixed(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            assert managed_files.free_port("127.0.0.1", port) != port
            with pytest.raises(Exception, match=str(port)):
                managed_files.free_port("127.0.0.1", port, fixed=True)

    def test_an_entity_id_is_a_mac_address_of_its_engine(self):
        first, second = managed_files.entity_id("ast-1"), managed_files.entity_id("ast-2")
        assert re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", first)
        assert first == managed_files.entity_id("ast-1") != second

    def test_only_what_is_new_in_a_log_is_read(self, tmp_path):
        path = tmp_path / "console"
        path.write_text("old\nnew\n")
        assert managed_files.read_from(path, 4) == "new\n"
        assert managed_files.read_from(path, 8) == ""

    def test_a_log_without_a_known_problem_explains_nothing(self):
        assert managed_files.explain("Asterisk Ready.\n") is None

    def test_a_taken_port_is_explained(self):
        text = managed_files.explain("ERROR[1] res_pjsip: Unable to bind: Address already in use\n")
        assert text is not None
        assert "in use" in text
