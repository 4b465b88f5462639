"""The voice that is used where nothing else is set, for tests that let it speak."""

from __future__ import annotations

import os
import shutil

import pytest

from outdial.config import Settings
from outdial.telephony.obtain import CACHE

COMMAND: str = Settings.model_fields["speech_command"].default
"""As every server has it whose operator says nothing."""


@pytest.fixture
def espeak(monkeypatch) -> str:
    """Have espeak-ng on PATH, the machine's own or that of ``make install``; return the command that speaks by it. Skip
    with the reason where there is none; in CI fail."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(CACHE / "espeak-ng")])
    if shutil.which("espeak-ng", path=path) is None:
        sentence = "espeak-ng is neither on PATH nor in .cache: make install, or apt install espeak-ng"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    monkeypatch.setenv("PATH", path)
    return COMMAND
