"""The small parts: an engine's clock, what a permit is made of, call records, sources of packages, the local engine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outdial.config import Settings
from outdial.core.errors import StartupError
from outdial.core.ids import parse_permit_name, permit_name, stasis_app
from outdial.core.model import EngineKind, Transport
from outdial.telephony import call_records, obtain, permits
from outdial.telephony.asterisk_control import QUALIFY_SECONDS
from outdial.telephony.call_records import find_record
from outdial.telephony.engine import LINE_SECONDS, TrunkAddress
from outdial.telephony.engine_clock import MAX_AGE_SECONDS, EngineClock
from outdial.telephony.local import engine_id_of, open_engine
from outdial.telephony.loopback import RULES, ring_seconds, rule_of
from outdial.telephony.managed_config import RECORDS_FILE
from outdial.telephony.program import find_asterisk
from support.asterisk import require_asterisk
from telephony.conftest import TRUNK
from values import KEY

ADDRESS = TrunkAddress("192.0.2.1", 5060)


class TestClock:
    def test_unknown_it_is_not_trusted(self):
        clock = EngineClock()
        assert clock.offset(0) is None
        assert not clock.trusted(0)

    @given(offset=st.floats(-0.4, 0.4), trip=st.floats(0, 0.2))
    def test_a_permit_never_lasts_longer_than_promised(self, offset, trip):
        clock = EngineClock()
        # the engine read its clock at some moment of the trip
        clock.sample(sent=1000.0, received=1000.0 + trip, engine=1000.0 + offset, boottime=5.0)
        assert clock.engine_time(2000.0) <= 2000.0 + offset + 1e-6

    @pytest.mark.parametrize(
        ("offset", "trusted"), [(0.0, True), (0.45, True), (-0.45, True), (0.6, False), (-0.6, False)]
    )
    def test_a_clock_far_off_is_not_trusted(self, offset, trusted):
        clock = EngineClock()
        clock.sample(sent=1000.0, received=1000.0, engine=1000.0 + offset, boottime=5.0)
        assert clock.trusted(5.0) is trusted

    def test_a_slow_answer_says_nothing(self):
        clock = EngineClock()
        clock.sample(sent=1000.0, received=1001.0, engine=1000.5, boottime=5.0)
        assert clock.offset(5.0) is None

    def test_an_old_measurement_counts_no_more(self):
        clock = EngineClock()
        clock.sample(sent=1000.0, received=1000.0, engine=1000.0, boottime=5.0)
        assert clock.trusted(5.0 + MAX_AGE_SECONDS)
        assert not clock.trusted(5.1 + MAX_AGE_SECONDS)

    def test_another_engine_begins_anew(self):
        clock = EngineClock()
        clock.sample(sent=1000.0, received=1000.0, engine=1000.0, boottime=5.0)
        clock.forget()
        assert not clock.trusted(5.0)


class TestPermits:
    @given(run_id=st.integers(1, 1 << 40), epoch=st.integers(1, 1 << 20))
    def test_their_name_says_run_epoch_and_key_and_nothing_else(self, run_id, epoch):
        assert parse_permit_name(permit_name(run_id, epoch, KEY)) == (run_id, epoch, KEY)

    def test_channels_named_after_the_longest_keep_their_whole_name(self):
        # AST_CHANNEL_NAME is 80, with the byte that ends it
        assert len(f"PJSIP/{permit_name(10**12, 10**6, KEY)}-00000000") < 80

    @pytest.mark.parametrize(
        "name",
        [
            *("", "run", "run1", "run1e", "rune1", "run1e2", "run1e2k", f"run1e2k{KEY}x", f"run1e2k{KEY[1:]}"),
            *(f"run1e2k{KEY.upper()}", f"runxe1k{KEY}", "trunk-1", f"run¹e1k{KEY}"),
        ],
    )
    def test_other_names_are_no_permits(self, name):
        assert parse_permit_name(name) is None

    def test_the_contact_holds_an_address_and_an_end(self):
        uri = permits.contact_uri(TRUNK, ADDRESS)
        assert uri == "sip:192.0.2.1:5060"
        assert permits.contact_fields(uri, 12.3456)["fields"][1] == {"attribute": "expiration_time", "value": "12.346"}

    def test_transport_and_ipv6_are_written_out(self):
        trunk = replace(TRUNK, transport=Transport.TLS)
        assert permits.contact_uri(trunk, TrunkAddress("2001:db8::1", 5061)) == "sip:[2001:db8::1]:5061;transport=tls"
        assert permits.transport_name(Transport.TLS, "2001:db8::1") == "outdial-tls6"

    def test_a_name_is_never_given_to_the_engine(self):
        with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
            permits.contact_uri(TRUNK, TrunkAddress("sip.example.net", 5060))

    def test_only_a_probe_is_qualified_and_given_a_second_to_answer(self):
        def values(**options):
            return {field["attribute"]: field["value"] for field in permits.aor_fields(**options)["fields"]}

        assert values()["qualify_frequency"] == "0"
        probe = values(qualify_seconds=QUALIFY_SECONDS)
        assert (probe["qualify_frequency"], probe["qualify_timeout"]) == ("1", "1.0")
        assert 2 * QUALIFY_SECONDS + float(probe["qualify_timeout"]) <= LINE_SECONDS

    def test_the_contact_is_removed_first(self):
        first, *_ = permits.removal_paths("run7e3")
        assert "/contact/run7e3" in first

    def test_credentials_are_named_only_where_there_are_some(self):
        names = [field["attribute"] for field in permits.endpoint_fields(TRUNK, ADDRESS, "x")["fields"]]
        assert "outbound_auth" not in names
        digest = replace(TRUNK, username="u", password="p", from_domain="example.net")
        values = {f["attribute"]: f["value"] for f in permits.endpoint_fields(digest, ADDRESS, "x")["fields"]}
        assert (values["outbound_auth"], values["from_domain"]) == ("x", "example.net")


class TestRecords:
    ID = "a" * 32

    def write(self, folder, *lines):
        (folder / RECORDS_FILE).write_text("".join(f"{line}\n" for line in lines))

    def line(self, kind, at, extra="{}", call_id=ID):
        quoted = extra.replace('"', '""')
        return f'"{kind}","{at}","{call_id}","{quoted}"'

    def test_an_ended_call(self, tmp_path):
        self.write(
            tmp_path,
            self.line("CHAN_START", 1.0),
            self.line("CHAN_START", 1.5, call_id="b" * 32),
            self.line("ANSWER", 2.0),
            self.line("HANGUP", 3.0, '{"hangupcause":16}'),
        )
        found = find_record(tmp_path, self.ID)
        assert (found.started_at, found.answered_at, found.ended_at, found.cause) == (
            datetime.fromtimestamp(1, UTC),
            datetime.fromtimestamp(2, UTC),
            datetime.fromtimestamp(3, UTC),
            16,
        )

    def test_one_the_engine_did_not_survive(self, tmp_path):
        self.write(tmp_path, self.line("CHAN_START", 1.0))
        found = find_record(tmp_path, self.ID)
        assert (found.answered_at, found.ended_at) == (None, None)

    def test_half_a_line_counts_for_nothing(self, tmp_path):
        (tmp_path / RECORDS_FILE).write_text(self.line("CHAN_START", 1.0)[:-5])
        assert find_record(tmp_path, self.ID) is None

    def test_nothing_and_no_file(self, tmp_path):
        assert find_record(tmp_path, self.ID) is None
        (tmp_path / RECORDS_FILE).touch()
        assert find_record(tmp_path, self.ID) is None

    def test_a_long_file_is_put_aside_and_still_read(self, tmp_path, monkeypatch):
        self.write(tmp_path, self.line("CHAN_START", 1.0))
        monkeypatch.setattr(call_records, "_KEPT_BYTES", 10)
        call_records.keep_bounded(tmp_path)
        assert not (tmp_path / RECORDS_FILE).exists()
        assert find_record(tmp_path, self.ID) is not None


class TestSources:
    def test_one_line_sources(self):
        (found,) = obtain.parse_sources(
            "# comment\ndeb [arch=amd64 signed-by=/k.gpg] http://deb.debian.org/debian bookworm main contrib\n"
            "deb-src http://deb.debian.org/debian bookworm main\n",
            deb822=False,
        )
        assert "bookworm" in found.stanza()
        assert "deb-src" not in found.stanza()

    def test_deb822_sources(self):
        found = obtain.parse_sources(
            "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
            "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
            deb822=True,
        )
        assert found
        assert all("http://deb.debian.org/debian" in source.stanza() for source in found)

    @pytest.mark.parametrize(
        ("text", "major"), [("Asterisk 22.10.1", 22), ("Asterisk 16.28.0~dfsg", 16), ("sipp v3.6.1", None), ("", None)]
    )
    def test_versions(self, text, major):
        if "Asterisk" in text or not text:
            assert obtain.major_version(text) == major

    async def test_where_none_can_be_had_the_sentence_says_what_to_do(self, tmp_path):
        settings = Settings(_env_file=None, data_dir=tmp_path, asterisk_command=tmp_path / "nothing")
        with pytest.raises(StartupError, match=r"make install.*OUTDIAL_ASTERISK_COMMAND.*OUTDIAL_ENGINE=simulated"):
            await find_asterisk(settings)


class TestLocalEngine:
    async def test_the_simulated_one_is_labelled_loudly(self, tmp_path):
        settings = Settings(_env_file=None, data_dir=tmp_path, engine="simulated")
        async with open_engine(settings, node_id="n1") as local:
            assert local.engine.kind is EngineKind.SIMULATED
            assert local.address is None
            assert "no real calls" in local.label
            assert local.engine.up

    async def test_one_that_runs_already_is_used(self, asterisk, tmp_path):
        settings = Settings(
            _env_file=None,
            data_dir=tmp_path,
            asterisk_url=asterisk.address.url,
            asterisk_user=asterisk.address.username,
            asterisk_password=asterisk.address.password,
        )
        async with open_engine(settings, node_id="n1") as local:
            assert local.engine.up
            assert local.managed is None
            assert local.address.engine_id == engine_id_of(asterisk.address.url) == local.engine.id
            # somebody else's: its records cannot be read
            assert not local.engine.keeps_records

    async def test_one_that_does_not_answer_is_waited_for_a_while_only(self, tmp_path, monkeypatch):
        monkeypatch.setattr("outdial.telephony.local.FIRST_UP_SECONDS", 0.2)
        settings = Settings(_env_file=None, data_dir=tmp_path, asterisk_url="http://127.0.0.1:9")
        async with open_engine(settings, node_id="n1") as local:
            assert not local.engine.up

    async def test_our_own_is_started_and_ended(self, tmp_path):
        import asyncio  # noqa: PLC0415 - only here

        settings = Settings(_env_file=None, data_dir=tmp_path)
        await asyncio.to_thread(require_asterisk, settings)
        async with open_engine(settings, node_id="n1") as local:
            assert local.managed.running
            assert local.engine.up
            assert local.engine.keeps_records
            assert local.label.startswith("Asterisk 2")
        assert not local.managed.running

    def test_one_address_is_one_engine(self):
        assert engine_id_of("http://127.0.0.1:8088/") == engine_id_of("http://127.0.0.1:8088")
        assert engine_id_of("http://127.0.0.1:8088") != engine_id_of("http://127.0.0.1:8089")
        assert stasis_app("n1") != stasis_app("n2")


class TestLoopback:
    def test_every_two_digits_have_one_row(self):
        for digits in range(100):
            assert len([rule for rule in RULES if rule.first <= digits <= rule.last]) == 1
            assert rule_of(f"+1555010{digits:02d}").first <= digits

    def test_ring_times_are_bounded(self):
        for digit in range(10):
            assert ring_seconds(f"+15550{digit}10") == pytest.approx(1.0 + 0.2 * digit)
