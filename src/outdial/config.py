"""Settings: environment variables ``OUTDIAL_*`` (and a ``.env`` file in the working folder), nothing else.

``outdial config`` prints them with their sources; docs/reference/settings.md lists each (checked by a test).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_HEP_KEY: Final = re.compile(r"[A-Za-z0-9_-]{16,64}")


def default_data_dir() -> Path:
    """Return where data lives when nothing is said: ``/var/lib/outdial`` for root, else the XDG data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/outdial")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "outdial"


class Settings(BaseSettings):
    """All settings, each with its meaning and unit; secrets never print."""

    model_config = SettingsConfigDict(env_prefix="OUTDIAL_", env_file=".env", extra="ignore", frozen=True)

    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Folder for the embedded PostgreSQL, Asterisk's configuration, audio and the secret key",
    )
    http_host: str = Field(
        default="127.0.0.1", description="Address the API binds; only loopback unless told otherwise"
    )
    http_port: int = Field(default=8080, ge=1, le=65535, description="Port of the API")
    database_url: SecretStr | None = Field(
        default=None,
        description="postgresql://… of a PostgreSQL 15 or newer; unset = the embedded server in the data folder",
    )
    database_pool_size: int = Field(default=10, ge=2, le=100, description="Connections per process")
    secret_key: SecretStr | None = Field(
        default=None,
        description="Key that encrypts secrets in the database; unset = kept in the data folder. Nodes on several "
        "machines need the same one",
    )
    rate_limit_per_minute: int = Field(
        default=60, ge=0, description="API requests per minute and account, 0 = no limit"
    )
    asterisk_url: str | None = Field(
        default=None, description="ARI address of an Asterisk to use, e.g. http://127.0.0.1:8088; unset = a managed one"
    )
    asterisk_user: str = Field(default="outdial", description="ARI user of that Asterisk")
    asterisk_password: SecretStr = Field(default=SecretStr(""), description="ARI password of that Asterisk")
    asterisk_command: Path | None = Field(
        default=None,
        description="Asterisk program or unpacked tree for the managed engine; unset = PATH, then .cache/asterisk",
    )
    asterisk_media_dir: Path | None = Field(
        default=None,
        description="Folder both outdial and the Asterisk at asterisk_url can read, for flows' audio; unset = the data "
        "folder",
    )
    sip_host: str = Field(default="127.0.0.1", description="Address the managed Asterisk binds for SIP and RTP")
    sip_port: int = Field(default=0, ge=0, le=65535, description="SIP port of the managed Asterisk, 0 = a free one")
    engine: str = Field(
        default="auto",
        pattern="^(auto|asterisk|simulated)$",
        description="auto = Asterisk, else say what is missing; simulated = in-process, no real calls",
    )
    default_region: str | None = Field(
        default=None, pattern="^[A-Z]{2}$", description="Region (ISO 3166, e.g. US) of numbers written without +"
    )
    permit_ttl_seconds: float = Field(
        default=2.0, ge=0.5, le=30, description="Life of a permit at an engine and of a node's lease; bounds a stop"
    )
    pre_call_private_hosts: str = Field(
        default="",
        description="Hosts of pre-call fetches and of flows' webhooks and agents, separated by commas, that may be "
        "private addresses, e.g. crm.internal; all others must be public",
    )
    webhook_private_hosts: str = Field(
        default="",
        description="Hosts of webhooks, separated by commas, that may be private addresses, e.g. crm.internal; all "
        "others must be public",
    )
    speech_command: str = Field(
        default="espeak-ng -v {language} --stdin --stdout",
        description="Program that speaks the texts of flows: it reads a text and writes a WAV; `{language}` stands for "
        "the text's language; empty = none",
    )
    emergency_stop_file: Path | None = Field(
        default=None,
        description="File whose being there is an emergency stop; unset = emergency-stop in the data folder",
    )
    operator_token: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Bearer token of whoever runs this installation, for the emergency stop by API; unset = that is "
        "refused",
    )
    watchdog_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port of `outdial watchdog`: UDP for the engines' SIP traffic (HEP), TCP for its /metrics and "
        "/ready; the managed Asterisk sends it there. Unset = nothing is watched",
    )
    watchdog_host: str = Field(
        default="127.0.0.1", description="Address the watchdog binds, and the managed Asterisk sends to; an IP address"
    )
    watchdog_key: SecretStr | None = Field(
        default=None,
        description="Key of the engines' HEP packets (`capture_password` of hep.conf), 16–64 letters, digits, _ and -; "
        "unset = made of the secret key, for a managed Asterisk",
    )
    watchdog_tolerance_seconds: float = Field(
        default=0.0,
        ge=0,
        le=60,
        description="How far the engines' clocks may be from the database's; 0 where all run on one machine",
    )
    watchdog_webhook: str | None = Field(
        default=None, pattern="^https?://", description="Address that every alarm is sent to (POST); unset = none"
    )
    watchdog_webhook_secret: SecretStr | None = Field(
        default=None, description="Secret those are signed with, `whsec_` and base64, as Standard Webhooks has it"
    )
    node_name: str | None = Field(default=None, description="Name of this dialer node; unset = host name and pid")
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$", description="Least level logged")
    log_json: bool = Field(default=False, description="Log lines as JSON")

    @field_validator("watchdog_key")
    @classmethod
    def _is_hep_key(cls, value: SecretStr | None) -> SecretStr | None:
        # Asterisk's configuration has no quoting
        if value is not None and not _HEP_KEY.fullmatch(value.get_secret_value()):
            raise ValueError("it must have 16 to 64 letters, digits, _ and -")
        return value

    @property
    def private_hosts(self) -> frozenset[str]:
        """Hosts of pre-call fetches that may be private addresses, in lower case."""
        return _hosts(self.pre_call_private_hosts)

    @property
    def hosts_of_webhooks(self) -> frozenset[str]:
        """Hosts of webhooks that may be private addresses, in lower case."""
        return _hosts(self.webhook_private_hosts)


def _hosts(listed: str) -> frozenset[str]:
    return frozenset(host.strip().lower() for host in listed.split(",") if host.strip())
