from __future__ import annotations

from functools import partial

import pytest

from several_numbers import set_scene


@pytest.fixture
def scene_of(database, secret_box):
    """Sets a scene of people with several numbers, see ``several_numbers.set_scene``."""
    return partial(set_scene, database, secret_box)
