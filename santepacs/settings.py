"""Every setting, declared once: default, meaning, unit, limits, and when a change takes effect.

The sample configuration, ``santepacs settings`` and the portal's pages are made from these
declarations. A value comes from the command line, else the file, else what was saved in the
portal, else the default; a value from the first two is *pinned* and cannot be saved over.

`Settings` is a holder: a live change replaces a whole section, so read ``settings.hl7.token_rate``
at the time of use instead of keeping it.
"""

import dataclasses
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from santepacs.errors import Malformed
from santepacs.options import (
    Option,
    Value,
    check_ae_title,
    check_auto_delete_days,
    check_code_scheme,
    check_folder,
    check_host,
    check_keep_days,
    check_link,
    check_uid,
    check_uid_root,
    option,
    quoted,
    toml,
    value_type,
)


def _port(default: int, meaning: str) -> Any:
    return option(default, meaning, minimum=0, maximum=65535, live=False)


def _seconds(default: float, meaning: str, maximum: float = 86400, minimum: float = 0.05) -> Any:
    return option(default, meaning, unit="seconds", minimum=minimum, maximum=maximum)


_BIND = "Address to listen on; empty: all interfaces, IPv4 and IPv6."


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The program as a whole."""

    stop_grace: float = _seconds(
        20.0, "How long work in progress may take to finish when the server is told to stop.", 600
    )
    disk_reserve: int = option(
        500,
        "Free disk space below which new objects are refused (0xA700) while all else goes on.",
        unit="MB",
        minimum=0,
        maximum=10_000_000,
    )
    link_local: bool = option(
        False,
        "The portal's HL7 tools, HL7 nodes and worklist queries may connect to link-local "
        "addresses (169.254.0.0/16, fe80::/10), such as a device on a direct cable.",
    )


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """The index."""

    url: str = option(
        "",
        "PostgreSQL (14 or newer) to use, as postgresql://USER@HOST/NAME; empty: an embedded "
        "PostgreSQL inside the data directory.",
        start_up=True,
    )
    connections: int = option(
        8, "Connections kept open to PostgreSQL.", minimum=2, maximum=50, start_up=True
    )
    timeout: float = option(
        20.0,
        "The longest that one statement may take before it is cancelled.",
        unit="seconds",
        minimum=0.1,
        maximum=3600,
        start_up=True,
    )


@dataclass(frozen=True, slots=True)
class DicomSettings:
    """DICOM server: storage, query, retrieve, modality worklist."""

    ae_title: str = option(
        "SANTEPACS",
        "Own AE title. Discs are ordered by sending to it with _E, _P, _TE or _TP appended.",
        check=check_ae_title,
        live=False,
    )
    port: int = _port(11112, "Port of the DICOM server; 0: no DICOM server.")
    bind: str = option("", _BIND, check=check_host, live=False)
    tls_port: int = _port(0, "Port of the DICOM server for TLS (registered: 2762); 0: none.")
    tls_certificate: str = option(
        "",
        "PEM file with the own certificate and those between it and its authority. It is shown "
        "on the TLS port, and to peers that are called with TLS.",
        live=False,
    )
    tls_private_key: str = option(
        "", "PEM file with its private key; empty: in the same file.", live=False
    )
    tls_client_certificates: str = option(
        "no",
        "Whether callers on the TLS port must show a certificate. One that they show is checked "
        "against dicom.tls_ca (one that fails ends the connection), and may then stand for the "
        "address of its peer.",
        choices=("no", "if given", "required"),
        live=False,
    )
    tls_ca: str = option(
        "",
        "PEM file with the authorities that certificates of callers and of called peers come "
        "from; empty: for called peers those of the system.",
        live=False,
    )
    trust_loopback: bool = option(
        True,
        "Callers on this machine are peers without being listed. Switch it off behind a proxy "
        "or tunnel, where strangers seem to come from this machine.",
    )
    conflict: str = option(
        "aside",
        "Another object under a SOP Instance UID that is already stored: 'aside' keeps it apart "
        "and answers 0xB000, 'refuse' answers 0xC001. The first is never overwritten.",
        choices=("aside", "refuse"),
    )
    private_sop_classes: tuple[str, ...] = option(
        (),
        "UIDs of private SOP classes whose objects are stored like those of the standard.",
        check=check_uid,
    )
    maximum_associations: int = option(
        100,
        "Associations served at once; above, callers are told to try later.",
        minimum=1,
        maximum=2000,
        live=False,
    )
    maximum_connections: int = option(
        4, "Outgoing associations at once; further transfers wait.", minimum=1, maximum=64
    )
    service_timeout: float = _seconds(
        30.0, "How long to wait for a peer's answer before the connection is given up.", 3600
    )
    association_timeout: float = _seconds(
        30.0, "How long a caller may take to request its association.", 600
    )
    network_timeout: float = _seconds(60.0, "Silence after which an association is aborted.", 86400)
    maximum_results: int = option(
        0,
        "Most results of one C-FIND of Query/Retrieve; 0: no limit.",
        minimum=0,
        maximum=10_000_000,
    )
    debug: bool = option(
        False, "Log the protocol in detail (never the content of queries and images)."
    )


@dataclass(frozen=True, slots=True)
class Hl7Settings:
    """HL7 port: orders by MLLP, and token requests of HIS and RIS."""

    port: int = _port(3001, "Port of the HL7 server; 0: no HL7 server.")
    bind: str = option("", _BIND, check=check_host, live=False)
    send_acknowledgement: bool = option(
        True, "Answer each message with an HL7 ACK. Most senders wait for it."
    )
    honour_acknowledgement_mode: bool = option(
        False,
        "Answer as the message asks in MSH-15 and MSH-16 (enhanced mode) instead of always once.",
    )
    default_charset: str = option(
        "UNICODE UTF-8",
        "Character set of messages that declare none (HL7 table 0211) and are not UTF-8.",
    )
    sending_application: str = option("SANTEPACS", "MSH-3 of messages that are sent.")
    sending_facility: str = option("", "MSH-4 of messages that are sent.")
    send_timeout: float = _seconds(
        30.0,
        "How long a message that is sent may take, from connecting to its acknowledgement.",
        3600,
    )
    keep_days: int = option(
        365,
        "How long messages are kept, received and sent ones; 0: for ever. The last 7 days tell "
        "whether a message was received before.",
        unit="days",
        minimum=0,
        maximum=36_500,
        check=check_keep_days,
    )
    trust_loopback: bool = option(
        True, "Programs on this machine may connect without being listed as HL7 nodes."
    )
    idle_timeout: float = _seconds(3600.0, "Silence after which a connection is closed.", 7 * 86400)
    frame_timeout: float = _seconds(30.0, "How long a message may take to arrive.", 3600)
    token_timeout: float = _seconds(10.0, "How long a token request may take to arrive.", 600)
    maximum_message_size: int = option(
        16, "Largest HL7 message.", unit="MB", minimum=1, maximum=256
    )
    maximum_connections: int = option(
        200, "Connections at once; further ones are closed.", minimum=1, maximum=10_000
    )
    tokens: bool = option(True, "Answer token requests (0x10 ... 0x0D).")
    token_reply: str = option(
        "full",
        "Answer to a Patient ID: 'full' gives UID, date, description and token of each study, "
        "'pairs' gives UID and token only (older clients).",
        choices=("full", "pairs"),
    )
    token_rate: int = option(
        60, "Token requests of one source.", unit="a minute", minimum=1, maximum=1_000_000
    )


@dataclass(frozen=True, slots=True)
class WorklistSettings:
    """Modality worklist."""

    station_from_calling_ae: bool = option(
        False,
        "A query without Scheduled Station AE Title (0040,0001) finds only the calling AE "
        "title's own steps.",
    )
    station_or_none: bool = option(
        False,
        "A query for a station finds the steps of no station, too.",
    )
    maximum_results: int = option(
        1000,
        "Most steps that are sent for one query, the earliest of those that match: some modalities "
        "stand still under a longer list; 0: no limit.",
        minimum=0,
        maximum=1_000_000,
    )
    code_scheme: str = option(
        "L",
        "Coding scheme designator of the procedure codes in answers that are asked for them; with "
        "the default mapping the IDs of procedure and step are such codes (OBR-4). Empty: none.",
        check=check_code_scheme,
    )
    auto_delete_days: int = option(
        0,
        "Delete worklist records that were scheduled, and changed last, so many days ago: 7, 14, "
        "30 or 90; 0: never.",
        unit="days",
        minimum=0,
        maximum=90,
        check=check_auto_delete_days,
    )
    folder: str = option(
        "",
        "Folder whose .txt and .hl7 files are taken as HL7 messages, as an absolute path; empty: "
        "none. The server's account must be allowed to read, rename and write there.",
        check=check_folder,
    )
    folder_erase: bool = option(
        False, "Delete files from that folder when their messages are accepted; no: add .DON."
    )
    folder_interval: float = _seconds(5.0, "Pause between looks into that folder.", 3600)
    query_log: bool = option(
        False, "Log each worklist query. Scanners ask every few seconds: for debugging only."
    )
    started_by_order_status: bool = option(
        False,
        "An order's status change to 'in progress' (ORC-1 SC with ORC-5 IP) starts the step; no: "
        "only the modality does.",
    )
    complete_after: float = _seconds(
        600.0,
        "Where a modality does not say what it does (MPPS), its images do: the first one begins "
        "the scheduled step, and this long after the last one it is completed; 0: images change "
        "nothing.",
        minimum=0,
    )
    status_node: str = option(
        "",
        "HL7 node that is told when a step begins, is completed or discontinued (ORM^O01 with "
        "ORC-1 SC); empty: nobody is.",
    )
    study_uid_root: str = option(
        "1.2.300.0.7230010.3.1.3",
        "Root of the Study Instance UIDs that are made for orders which bring none.",
        check=check_uid_root,
    )
    study_uid_for_all: bool = option(
        True, "Make such UIDs for all scanners; no: only for those listed below."
    )
    study_uid_ae_titles: tuple[str, ...] = option(
        (), "Scheduled station AE titles that get such UIDs.", check=check_ae_title
    )


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Web server: portal, downloads and patients' links."""

    port: int = _port(3000, "Port of the web server; 0: no web server.")
    bind: str = option("", _BIND, check=check_host, live=False)
    institution: str = option("", "Name of the institution, shown on every page.")
    department: str = option("", "Name of the department, shown on every page.")
    server_name: str = option(
        "",
        "Host name in links that are given away; empty: the host asked for if it is one of "
        "this machine's, else its first address.",
        check=check_host,
    )
    allowed_hosts: tuple[str, ...] = option(
        (), "Further host names under which this server may be asked.", check=check_host
    )
    trusted_proxies: tuple[str, ...] = option(
        (), "Addresses of proxies whose X-Forwarded headers are believed.", check=check_host
    )
    viewer_url: str = option(
        "", "Where users get the site's DICOM viewer; empty: not shown.", check=check_link
    )
    study_accessibility: int = option(
        0,
        "How long a patient's link works, from the study date; 0: always.",
        unit="days",
        minimum=0,
        maximum=36_500,
    )
    session_idle: float = _seconds(1800.0, "A user is logged out after so long without a request.")
    session_length: float = _seconds(
        43_200.0, "A user is logged out after so long at the latest.", 30 * 86400
    )
    login_attempts: int = option(
        10,
        "Failed log-ins of one user or one address after which further ones must wait.",
        minimum=2,
        maximum=1000,
    )
    token_attempts: int = option(
        30,
        "Unknown patient links of one address after which further ones must wait.",
        unit="a minute",
        minimum=2,
        maximum=100_000,
    )
    maximum_downloads: int = option(
        2, "Downloads by one patient link at once.", minimum=1, maximum=1000
    )


SECTIONS: dict[str, type] = {
    "server": ServerSettings,
    "database": DatabaseSettings,
    "dicom": DicomSettings,
    "hl7": Hl7Settings,
    "worklist": WorklistSettings,
    "web": WebSettings,
}


@dataclass(slots=True)
class Settings:
    """The settings in force, one attribute per section."""

    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    dicom: DicomSettings = DicomSettings()
    hl7: Hl7Settings = Hl7Settings()
    worklist: WorklistSettings = WorklistSettings()
    web: WebSettings = WebSettings()
    pinned: dict[str, str] = field(default_factory=dict)
    """``section.key`` -> where it is pinned (the file's name or ``--set``)."""

    def value(self, name: str) -> Value:
        """The value of ``section.key`` in force; Malformed if there is no such setting."""
        declaration = find_option(name)
        value: Value = getattr(getattr(self, declaration.section), declaration.key)
        return value

    def take(self, saved: Mapping[str, str], *, live_only: bool = False) -> list[str]:
        """Put values saved in the portal in force, except pinned and start-up ones.

        Values that are not saved return to their default. `live_only` leaves alone what takes
        effect at the next start. Returns a line for each saved value that cannot be used (an
        older release may have left it); those keep their default.
        """
        complaints: list[str] = []
        values: dict[str, Value] = {}
        for name, text in saved.items():
            try:
                declaration = find_option(name)
                if not declaration.start_up:
                    values[name] = declaration.parse(text, "saved setting")
            except Malformed as problem:
                complaints.append(str(problem))
        for declaration in options():
            if declaration.start_up or declaration.name in self.pinned:
                continue
            if live_only and not declaration.live:
                continue
            self._put(declaration, values.get(declaration.name, declaration.default))
        return complaints

    def _put(self, declaration: Option, value: Value) -> None:
        section = getattr(self, declaration.section)
        if getattr(section, declaration.key) != value:
            setattr(
                self,
                declaration.section,
                dataclasses.replace(section, **{declaration.key: value}),
            )

    def pin(self, declaration: Option, value: Value, where: str) -> None:
        """Put a value in force that the portal cannot change."""
        self._put(declaration, value)
        self.pinned[declaration.name] = where


def options() -> Iterator[Option]:
    """Every declaration, in the order of the sample configuration."""
    for section, cls in SECTIONS.items():
        hints = get_type_hints(cls)
        for item in dataclasses.fields(cls):
            default: Any = item.default
            yield Option(
                section=section,
                key=item.name,
                type=value_type(hints[item.name]),
                default=default,
                **item.metadata,
            )


def find_option(name: str) -> Option:
    """The declaration of ``section.key``. Raises Malformed if there is none."""
    for declaration in options():
        if declaration.name == name:
            return declaration
    raise Malformed(f"there is no setting {name[:80]!r}; `santepacs settings get` lists them all")


def load(text: str = "", file_name: str = "", overrides: Iterable[str] = ()) -> Settings:
    """The settings of a TOML file's `text` and of ``SECTION.KEY=VALUE`` overrides, all pinned.

    Raises Malformed naming the file, the key and what is allowed; unknown sections and keys are
    refused, because a misspelt setting must not be a silent default.
    """
    settings = Settings()
    for name, raw in _file_values(text, file_name):
        declaration = _known(name, file_name)
        settings.pin(declaration, declaration.parse(raw, file_name), file_name)
    for override in overrides:
        name, equals, raw_text = override.partition("=")
        if not equals:
            raise Malformed(f"--set wants SECTION.KEY=VALUE; it says {quoted(override)}")
        declaration = _known(name.strip(), "--set")
        settings.pin(declaration, declaration.parse(raw_text, "--set"), "--set")
    return settings


def _known(name: str, where: str) -> Option:
    try:
        return find_option(name)
    except Malformed as problem:
        raise Malformed(f"{where}: {problem}") from None


def _file_values(text: str, file_name: str) -> Iterator[tuple[str, object]]:
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise Malformed(f"{file_name}: {problem}") from None
    except RecursionError:
        raise Malformed(f"{file_name}: nested too deeply") from None
    for section, values in content.items():
        if section not in SECTIONS or not isinstance(values, dict):
            raise Malformed(
                f"{file_name}: there is no section [{section[:40]}]; there are "
                + ", ".join(f"[{known}]" for known in SECTIONS)
            )
        for key, raw in values.items():
            yield f"{section}.{key}", raw


def sample() -> str:
    """A configuration file with every setting, its default commented out."""
    lines = [
        "# santepacs: sample configuration, made from the program's own declarations.",
        "# Every setting stands here with its default. Remove the # to pin another value: then it",
        "# cannot be changed elsewhere. Settings that are not pinned can be changed with",
        "# `santepacs settings set`, most of them while the server runs.",
    ]
    section = ""
    for declaration in options():
        if declaration.section != section:
            section = declaration.section
            purpose = (SECTIONS[section].__doc__ or "").strip()
            lines += ["", "", f"[{section}]", f"# {purpose}"]
        when = "" if declaration.live else " Takes effect at the next start."
        allowed = (
            "" if declaration.type is str and not declaration.choices else declaration.allowed()
        )
        about = f"{declaration.meaning}{allowed and f' ({allowed})'}{when}"
        lines += ["", *(f"# {line}" for line in textwrap.wrap(about, 92))]
        lines.append(f"#{declaration.key} = {toml(declaration.default)}")
    return "\n".join(lines) + "\n"
