"""A folder to play in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from outdial.config import Settings
from support.asterisk import require_asterisk
from support.programs import end_all_of


@pytest.fixture
def stage(tmp_path) -> Iterator[Path]:
    """Where a world goes; nothing of it lives on afterwards."""
    require_asterisk(Settings(_env_file=None))
    yield tmp_path / "world"
    end_all_of(tmp_path)
