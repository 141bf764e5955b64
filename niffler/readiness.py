"""Whether an extraction could start now: what could be in its way, tried without starting one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from niffler import mail, slots
from niffler.dcm4che import Tools
from niffler.echo import NOT_CONNECTED, c_echo
from niffler.errors import CannotStartError, NifflerError, WrongInputError
from niffler.metadata import BRIEF_COLUMNS, OUTPUT_NAME, MetadataFile, columns_of
from niffler.night import Window, in_local_time
from niffler.settings import Mode, Settings
from niffler.shards import of_shard
from niffler.status import in_words
from niffler.storage import fault_of_folder, free_bytes

_ECHO_SECONDS = 10.0


class Verdict(StrEnum):
    """What came of a check, in the word that its line begins with."""

    OK = "ok"
    NOTE = "note"
    WRONG = "WRONG"


@dataclass(frozen=True)
class Check:
    """One check; ``exit_code`` is what an extraction would end with for it."""

    text: str
    verdict: Verdict = Verdict.OK
    exit_code: int = 0


def note(text: str) -> Check:
    """Something that should be known and is in nobody's way."""
    return Check(text, Verdict.NOTE)


def wrong(failure: NifflerError) -> Check:
    """Something that an extraction would end for."""
    return Check(str(failure), Verdict.WRONG, failure.exit_code)


def tried(action: Callable[[], str]) -> Check:
    """Do something that returns what is well, or raises what is not."""
    try:
        return Check(action())
    except NifflerError as failure:
        return wrong(failure)


def of_folders(settings: Settings) -> Iterator[Check]:
    """The folders can be written, and there is room."""
    folders = {"StorageFolder": settings.storage_folder, "the folder of CsvFile": settings.csv_file.parent,
               "the current folder, for log and receiver's output": Path.cwd()}  # fmt: skip
    for name, folder in folders.items():
        fault = fault_of_folder(folder)
        is_there = "can be written" if folder.exists() else "does not exist yet, and can be made"
        failure = WrongInputError(f"{name}: {fault}; ask for the right or choose another")
        yield wrong(failure) if fault else Check(f"{name}: {folder} {is_there}")
    free, least = free_bytes(settings.storage_folder), settings.system.min_free_disk_gb
    room = f"{free / 1e9:.2f} GB are free for StorageFolder, MinFreeDiskGB is {least:g}"
    yield wrong(CannotStartError(f"{room}: make room")) if free < least * 1e9 else Check(room)
    if settings.mode is not Mode.RETRIEVE:
        yield tried(lambda: _output(settings))


def _output(settings: Settings) -> str:
    columns = BRIEF_COLUMNS if settings.mode is Mode.FIND_ONLY else columns_of(settings.stylesheet)
    output = MetadataFile(of_shard(settings.storage_folder / OUTPUT_NAME, settings.shard), columns)
    output.check()
    return f"{output.path} will hold {', '.join(columns)}"


def of_places(settings: Settings) -> Iterator[Check]:
    """No other extraction and no leftover tool is in the way, and storescp could listen."""
    system = settings.system
    running = slots.extractions_running()
    places = f"extractions on this machine now: {running}, MaxNifflerProcesses is {system.max_niffler_processes}"
    yield note(f"{places}: one more would have to wait") if running >= system.max_niffler_processes else Check(places)
    for tool in slots.leftover_tools(str(system.query_aet), str(system.src_aet)):
        left = f"{tool.name} (process {tool.pid}) of user {tool.user} is left over and runs as {system.query_aet}"
        remedy = f"make sure that nobody needs it, then run: sudo kill {tool.pid}"
        yield (
            note(f"{left}; the next extraction ends it") if tool.mine else wrong(CannotStartError(f"{left}; {remedy}"))
        )
    if settings.receives_here:
        port = system.query_aet.port
        fault = slots.fault_of_port(port)
        in_the_way = CannotStartError(f"{fault}; end that process or choose another port in QueryAet")
        yield wrong(in_the_way) if fault else Check(f"port {port} is free for storescp")


def of_tools(tools: Tools) -> Check:
    """The tools are there and run, with Java where they need it."""
    return tried(lambda: f"the tools in {tools.folder} run: {tools.check()}")


def of_pacs(settings: Settings) -> Check:
    """The PACS answers C-ECHO; one that speaks TLS is left to findscu, which can."""
    system = settings.system
    if any(option.startswith("--tls") for option in system.dcm4che_options.get("findscu", ())):
        return note(f"{system.src_aet}: no C-ECHO over TLS; C-FIND will show whether it answers")
    status = c_echo(system.src_aet, system.query_aet.ae_title, _ECHO_SECONDS)
    if status == 0:
        return Check(f"{system.src_aet} answers C-ECHO to {system.query_aet.ae_title}")
    what = NOT_CONNECTED if status is None else in_words(status)
    return wrong(
        CannotStartError(
            f"{system.src_aet}: C-ECHO: {what}; compare SrcAet and QueryAet with what the PACS team gave you, and ask "
            f"whether the PACS accepts {system.query_aet.ae_title} and a firewall lets this machine reach it"
        )
    )


def of_way_back(settings: Settings) -> Check:
    """What only a C-MOVE can show."""
    system = settings.system
    port = f" and reaches port {system.query_aet.port} here" if settings.receives_here else ""
    return note(f"only a first study will show whether the PACS knows {system.dest_aet} as a move destination{port}")


def of_email(settings: Settings) -> Check:
    """The mail server answers; without it an extraction works all the same."""
    system = settings.system
    fault = mail.fault_of_server(system.smtp_host, system.smtp_port)
    return note(fault) if fault else Check(f"the mail server {system.smtp_host}:{system.smtp_port} answers")


def of_time(settings: Settings, now: datetime) -> Check:
    """When the window is open."""
    window, nightly = Window(settings.system.start_hour, settings.system.end_hour), settings.system.nightly_only
    if not nightly or window.is_open(now):
        return Check("the nightly window is open" if nightly else "NightlyOnly is false: any hour will do")
    opening = in_local_time(window.next_opening(now))
    return note(f"the nightly window is shut until {opening}; C-FIND is asked all the same, which moves nothing")
