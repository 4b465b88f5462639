"""Backups made and restored in this process."""

from __future__ import annotations

import base64
from pathlib import Path

from outdial.config import Settings
from outdial.secretbox import SecretBox
from outdial.services import backups, restores
from outdial.services.backups import Backup
from outdial.services.restores import Restored
from outdial.store.database import Database

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.urlsafe_b64encode(bytes(32)).decode()


def box() -> SecretBox:
    """The box of the installation that is backed up."""
    return SecretBox(KEY)


async def backed_up(database: Database, dsn: str, data_dir: Path, target: Path, *, with_key: bool = False) -> Backup:
    """A backup of an installation."""
    return await backups.back_up(
        database, dsn, box(), data_dir=data_dir.resolve(), target=target, key=KEY if with_key else None
    )


def settings_of(data_dir: Path, dsn: str | None, *, key: str | None = KEY) -> Settings:
    """The settings of an installation that is restored to."""
    return Settings(_env_file=None, data_dir=data_dir, database_url=dsn, secret_key=key)


async def restored(settings: Settings, file: Path, **options: object) -> Restored:
    """What became of a restore."""
    usual = {"replace": False, "keep_schedules": False, "without_key": False, "actor": "cli:anna"}
    return await restores.restore(settings, file, **usual | options)
