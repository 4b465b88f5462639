"""The configuration outdial writes for the Asterisk it runs: small, loopback by default, no module that is not used."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from outdial.telephony import loopback
from outdial.telephony.detection_context import DETECTION
from outdial.telephony.ended_context import ENDED
from outdial.telephony.loopback import Phone
from outdial.telephony.permits import CONTEXT
from outdial.telephony.program import AsteriskProgram

ARI_USER: Final = "outdial"
RECORDS_FILE: Final = "calls.csv"

GREETING: Final = "machine-greeting"
HELLO: Final = "hello-there"
"""What loopback phones say, by the names of their files."""

CARRIER_HOST: Final = "127.0.0.1"
"""The loopback carrier is never reachable from elsewhere."""

_MODULES: Final = (
    *(
        "res_timing_timerfd",
        "res_sorcery_config",
        "res_sorcery_memory",
        "res_sorcery_astdb",
        "res_http_websocket",
        "res_crypto",
    ),
    *(
        "res_pjproject",
        "res_pjsip",
        "res_pjsip_session",
        "res_pjsip_pubsub",
        "res_pjsip_sdp_rtp",
        "res_pjsip_caller_id",
        "res_pjsip_nat",
        "res_pjsip_rfc3326",
        "res_pjsip_dtmf_info",
        "res_pjsip_outbound_authenticator_digest",
        "res_pjsip_authenticator_digest",
        "res_pjsip_endpoint_identifier_ip",
        "res_pjsip_header_funcs",
        "res_rtp_asterisk",
        "res_srtp",
        "chan_pjsip",
    ),
    *(
        "codec_ulaw",
        "codec_alaw",
        "codec_a_mu",
        "codec_g722",
        "codec_resample",
        "format_wav",
        "format_pcm",
        "format_sln",
    ),
    *(
        "res_stasis",
        "res_stasis_answer",
        "res_stasis_playback",
        "res_stasis_recording",
        "res_stasis_snoop",
        "res_stasis_device_state",
        "res_ari",
        "res_ari_model",
        "res_ari_applications",
        "res_ari_asterisk",
        "res_ari_bridges",
        "res_ari_channels",
        "res_ari_endpoints",
        "res_ari_events",
        "res_ari_playbacks",
        "res_ari_recordings",
        "res_ari_sounds",
        "app_stasis",
        "bridge_simple",
        "bridge_softmix",
        "bridge_holding",
    ),
    *(
        "pbx_config",
        "app_playback",
        "app_senddtmf",
        "app_amd",
        "app_waitforsilence",
        "app_stack",
        "app_userevent",
        "func_channel",
        "func_dialplan",
        "func_hangupcause",
        "func_logic",
        "cel_custom",
    ),
)
"""Not obvious: chan_pjsip declines without pubsub; ARI answers 500 without bridge_holding and res_stasis_answer."""

_OPTIONAL_MODULES: Final = ("res_websocket_client", "res_cdrel_custom", "chan_websocket")
"""Only some versions have, and then need, them."""

_WATCHING_MODULES: Final = ("res_hep", "res_hep_pjsip")
"""Only where a watchdog is to hear what is sent."""

_EMPTY: Final = (
    *("indications", "ccss", "codecs", "dsp", "features", "acl", "udptl", "stasis", "amd", "manager"),
    *("websocket_client", "pjsip_notify"),
)
"""Files Asterisk complains about when they are missing."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What this instance listens on."""

    http: int
    sip: int
    tls: int
    carrier: int
    rtp_first: int
    rtp_last: int


@dataclass(frozen=True, slots=True)
class Watchdog:
    """Where the SIP traffic is told."""

    host: str
    port: int
    key: str
    name: str
    """What this Asterisk calls itself there: the engine's id."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Folders and numbers of one managed instance."""

    folder: Path
    run: Path
    """Folder of the control socket; its path is short, as sockets' must be."""
    program: AsteriskProgram
    entity_id: str
    sip_host: str
    ports: Ports
    password: str
    max_files: int
    watchdog: Watchdog | None = None
    """None = nobody is told of it."""

    @property
    def conf(self) -> Path:
        return self.folder / "conf"


def render(layout: Layout) -> dict[str, str]:
    """Return every file of the configuration folder by name."""
    watching = {} if layout.watchdog is None else {"hep.conf": _hep(layout.watchdog)}
    return (
        dict.fromkeys((f"{name}.conf" for name in _EMPTY), "")
        | watching
        | {
            "asterisk.conf": _asterisk(layout),
            "modules.conf": _modules(layout.program.modules, watched=layout.watchdog is not None),
            "logger.conf": "[general]\n[logfiles]\nconsole = notice,warning,error\n",
            "http.conf": _http(layout),
            "ari.conf": _ari(layout),
            "sorcery.conf": _SORCERY,
            "pjproject.conf": "[startup]\ntype = startup\nlog_level = 1\n",
            "pjsip.conf": _pjsip(layout),
            "rtp.conf": _rtp(layout.ports),
            "extensions.conf": _extensions(),
            "cdr.conf": "[general]\nenable = no\n",
            "cel.conf": "[general]\nenable = yes\nevents = CHAN_START,ANSWER,HANGUP\n",
            "cel_custom.conf": _RECORDS,
        }
    )


def _modules(folder: Path, *, watched: bool) -> str:
    optional = (name for name in _OPTIONAL_MODULES if (folder / f"{name}.so").exists())
    wanted = (*optional, *_MODULES, *(_WATCHING_MODULES if watched else ()))
    return "[modules]\nautoload = no\n" + "".join(f"load = {name}.so\n" for name in wanted)


def _hep(watchdog: Watchdog) -> str:
    address = ip_address(watchdog.host)
    host = f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004 - IPv6
    return f"""\
[general]
enabled = yes
capture_address = {host}:{watchdog.port}
capture_password = {watchdog.key}
capture_name = {watchdog.name}
uuid_type = call-id
"""


def _asterisk(layout: Layout) -> str:
    folder = layout.folder
    return f"""\
; written by outdial at every start
[directories]
astetcdir => {layout.conf}
astmoddir => {layout.program.modules}
astvarlibdir => {folder}/lib
astdbdir => {folder}/lib
astkeydir => {folder}/lib
astdatadir => {folder}/lib
astagidir => {folder}/lib
astspooldir => {folder}/spool
astrundir => {layout.run}
astlogdir => {folder}/log
[options]
nocolor = yes
hideconnect = yes
documentation_language = en_US
entityid = {layout.entity_id}
maxfiles = {layout.max_files}
"""


def _http(layout: Layout) -> str:
    return f"""\
[general]
enabled = yes
bindaddr = 127.0.0.1
bindport = {layout.ports.http}
sessionlimit = 1000
session_inactivity = 30000
session_keep_alive = 15000
"""


def _rtp(ports: Ports) -> str:
    return f"[general]\nrtpstart = {ports.rtp_first}\nrtpend = {ports.rtp_last}\nicesupport = no\n"


def _ari(layout: Layout) -> str:
    return f"""\
[general]
enabled = yes
pretty = no
websocket_write_timeout = 1000
[{ARI_USER}]
type = user
read_only = no
password = {layout.password}
password_format = plain
"""


_SORCERY: Final = """\
; permits live in memory: an Asterisk that restarts has forgotten them all
[res_pjsip]
endpoint = config,pjsip.conf,criteria=type=endpoint
endpoint = memory
aor = config,pjsip.conf,criteria=type=aor
aor = memory
auth = config,pjsip.conf,criteria=type=auth
auth = memory
contact = memory
"""

_RECORDS: Final = (
    "[mappings]\n"
    + RECORDS_FILE
    + " => "
    + ",".join(
        f"${{CSV_QUOTE(${{{field}}})}}" for field in ("eventtype", "eventtime", "CHANNEL(uniqueid)", "eventextra")
    )
    + "\n"
)


def _pjsip(layout: Layout) -> str:
    ports = layout.ports
    bare = ip_address(layout.sip_host)
    host, suffix = (f"[{bare}]", "6") if bare.version == 6 else (str(bare), "")  # noqa: PLR2004 - IPv6
    sources = {f"{CARRIER_HOST}:{ports.sip}", f"{host}:{ports.sip}"}
    return f"""\
[global]
type = global
user_agent = outdial
keep_alive_interval = 0
taskprocessor_overload_trigger = pjsip_only
[system]
type = system
threadpool_initial_size = 5
threadpool_auto_increment = 5
threadpool_max_size = 50
[outdial-udp{suffix}]
type = transport
protocol = udp
bind = {host}:{ports.sip}
[outdial-tcp{suffix}]
type = transport
protocol = tcp
bind = {host}:{ports.sip}
[outdial-tls{suffix}]
type = transport
protocol = tls
bind = {host}:{ports.tls}
cert_file = {layout.conf}/tls.crt
priv_key_file = {layout.conf}/tls.key
method = tlsv1_2
[outdial-carrier]
type = transport
protocol = udp
bind = {CARRIER_HOST}:{ports.carrier}
[outdial-carrier]
type = endpoint
transport = outdial-carrier
context = outdial-carrier
disallow = all
allow = ulaw,alaw,g722
direct_media = no
[outdial-carrier]
type = identify
endpoint = outdial-carrier
match = {",".join(sorted(sources))}
"""


def _extensions() -> str:
    last = "${EXTEN:-2}"
    jumps = "".join(
        f' same = n,GotoIf($["{last}" >= "{rule.first:02}" & "{last}" <= "{rule.last:02}"]?{rule.phone})\n'
        for rule in loopback.RULES
    )
    ring = " same = n,Wait($[1 + ${EXTEN:-3:1} * 0.2])\n"
    phones = {
        Phone.LISTENS: f" same = n({Phone.LISTENS}),Ringing()\n{ring} same = n,Answer()\n same = n,Wait(3600)\n",
        Phone.GREETS: f" same = n({Phone.GREETS}),Ringing()\n{ring} same = n,Answer()\n same = n,Playback({HELLO})\n"
        " same = n,Wait(3600)\n",
        Phone.PRESSES: f" same = n({Phone.PRESSES}),Ringing()\n{ring} same = n,Answer()\n"
        f" same = n,Wait({loopback.PRESS_SECONDS})\n same = n,SendDTMF(${{EXTEN:-3:1}})\n same = n,Wait(3600)\n",
        Phone.MACHINE: f" same = n({Phone.MACHINE}),Ringing()\n{ring} same = n,Answer()\n"
        f" same = n,Playback({GREETING})\n same = n,Wait(3600)\n",
        Phone.BUSY: f" same = n({Phone.BUSY}),Hangup(17)\n",
        Phone.RINGS: f" same = n({Phone.RINGS}),Ringing()\n same = n,Wait(3600)\n",
        Phone.REJECTS: f" same = n({Phone.REJECTS}),Ringing()\n{ring} same = n,PJSIPHangup(603)\n",
        Phone.NOT_FOUND: f" same = n({Phone.NOT_FOUND}),Hangup(1)\n",
        # Answer() waits up to 0.5 s for sound, Answer(1) a millisecond
        Phone.HANGS_UP: f" same = n({Phone.HANGS_UP}),Ringing()\n{ring} same = n,Answer(1)\n"
        f" same = n,Wait({loopback.HANG_UP_SECONDS})\n same = n,Hangup(16)\n",
    }
    return f"""\
[general]
static = yes
writeprotect = yes
[{CONTEXT}]
; nobody calls in: outdial only places calls
exten = _[+0-9].,1,Hangup(21)
{DETECTION}{ENDED}[outdial-carrier]
exten = _[+0-9].,1,NoOp()
{jumps} same = n,Goto({Phone.LISTENS})
""" + "".join(f"{lines} same = n,Hangup()\n" for lines in phones.values())
