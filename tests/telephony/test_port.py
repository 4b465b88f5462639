"""Both adapters are the whole port, with its very parameters; and nothing of it shows a secret."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime

import pytest

from outdial.telephony.asterisk import AsteriskEngine
from outdial.telephony.asterisk_control import AsteriskControl
from outdial.telephony.engine import (
    CallEnded,
    CallRinging,
    CallState,
    Engine,
    EngineControl,
    LiveCall,
    OriginateResult,
    Permit,
    TrunkAddress,
)
from outdial.telephony.managed import EngineAddress
from outdial.telephony.simulated import SimulatedEngine
from telephony.conftest import TRUNK
from values import KEY

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def members(protocol: type) -> list[str]:
    return sorted(
        {name for kind in protocol.__mro__ for name in vars(kind) if not name.startswith("_") and kind is not object}
        - {"register", "mro"}
    )


@pytest.mark.parametrize(
    ("adapter", "port"),
    [(AsteriskControl, EngineControl), (AsteriskEngine, Engine), (SimulatedEngine, Engine)],
)
def test_every_member_is_there_with_the_same_parameters(adapter, port):
    assert len(members(port)) >= 8
    for name in members(port):
        wanted = inspect.getattr_static(port, name)
        found = inspect.getattr_static(adapter, name)
        assert isinstance(found, property) is isinstance(wanted, property) or name == "kind", name
        if inspect.isfunction(wanted):
            assert list(inspect.signature(found).parameters) == list(inspect.signature(wanted).parameters), name
            assert inspect.iscoroutinefunction(found) is inspect.iscoroutinefunction(wanted) or name == "events", name


def test_a_stop_needs_no_more_than_what_every_process_has():
    assert set(members(EngineControl)) < set(members(Engine))
    assert {"originate", "play", "events", "adopt", "put_permit"} <= set(members(Engine)) - set(members(EngineControl))


def test_no_password_shows_where_values_are_printed():
    trunk = replace(TRUNK, username="user", password="open sesame")
    permit = Permit(1, 1, KEY, trunk, TrunkAddress("192.0.2.1", 5060), NOW)
    address = EngineAddress("e", "http://127.0.0.1:1", "user", "open sesame")
    for value in (trunk, permit, address):
        assert "open sesame" not in repr(value)
        assert "open sesame" not in str(value)


def test_values_are_frozen_and_compare_by_what_they_say():
    call = LiveCall("a", 1, 1, CallState.RINGING)
    assert call == LiveCall("a", 1, 1, CallState.RINGING)
    with pytest.raises(FrozenInstanceError):
        call.state = CallState.ANSWERED
    assert CallRinging("a", NOW) != CallEnded("a", NOW, None, None)


def test_four_things_can_become_of_an_originate():
    assert {str(result) for result in OriginateResult} == {"accepted", "refused", "failed", "unknown"}


@pytest.mark.parametrize("field", ["cause", "sip_code"])
def test_an_end_may_have_neither_cause_nor_status(field):
    """An engine that was killed says nothing; what is made of that is ``core.disposition``'s to decide."""
    ended = CallEnded("a", NOW, None, None)
    assert getattr(ended, field) is None
    assert getattr(replace(ended, **{field: 17}), field) == 17


def test_an_address_is_an_address_and_a_port():
    address = TrunkAddress("2001:db8::1", 5061)
    assert (address.host, address.port) == ("2001:db8::1", 5061)
    assert address == TrunkAddress("2001:db8::1", 5061)
    assert address != TrunkAddress("2001:db8::1", 5060)
