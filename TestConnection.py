#!/usr/bin/env python3
"""Ask the PACS whether it answers: one C-ECHO (PS3.7 9.1.5) from QueryAet to SrcAet, one verdict."""

from niffler import first  # noqa: F401

# isort: split
import argparse
import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from niffler.errors import NifflerError
from niffler.settings import SystemSettings
from niffler.settings_files import read_system_settings

SECONDS = 10.0
NOT_CONNECTED = "Association rejected, aborted or never connected"


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what the PACS answered; 0 where it is a success."""
    parser = argparse.ArgumentParser(description="Ask the PACS of system.json whether it answers (C-ECHO).")
    parser.add_argument("--NifflerSystem", default="system.json", metavar="FILE", help="default: system.json")
    options = parser.parse_args(arguments)
    try:
        system = read_system_settings(options.NifflerSystem, beside=Path(__file__).resolve().parent)
    except NifflerError as failure:
        print(failure, file=sys.stderr)
        return failure.exit_code
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    status: list[int] = []
    # Each step has a time limit of its own; the thread makes sure of the whole.
    echo = threading.Thread(target=lambda: status.extend(c_echo(system)), daemon=True)
    echo.start()
    echo.join(SECONDS)
    print(f"C-ECHO request status: 0x{status[0]:04x}" if status else NOT_CONNECTED, flush=True)
    return 0 if status == [0] else 1


def c_echo(system: SystemSettings) -> list[int]:
    """The status that the PACS answered; nothing where it did not."""
    entity = AE(ae_title=system.query_aet.ae_title)
    entity.add_requested_context(Verification)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = SECONDS
    try:
        association = entity.associate(system.src_aet.host, system.src_aet.port, ae_title=system.src_aet.ae_title)
    except OSError:  # a host that nobody knows
        return []
    if not association.is_established:
        return []
    answer = association.send_c_echo()
    status = [int(answer.Status)] if "Status" in answer else []
    association.release()
    return status


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    os._exit(exit_code)  # a thread may still wait for the rest of an answer that never comes
