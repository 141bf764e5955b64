#!/usr/bin/env python3
"""Ask the PACS whether it answers: one C-ECHO (PS3.7 9.1.5) from QueryAet to SrcAet, one verdict."""

from niffler import first  # noqa: F401

# isort: split
import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from niffler.echo import NOT_CONNECTED, c_echo
from niffler.errors import NifflerError
from niffler.settings_files import read_system_settings

SECONDS = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what the PACS answered; 0 where it is a success."""
    parser = argparse.ArgumentParser(description="Ask the PACS of system.json whether it answers (C-ECHO).")
    parser.add_argument("--NifflerSystem", default="system.json", metavar="FILE", help="default: system.json")
    parser.add_argument("--Shard", default="", metavar="NUMBER/COUNT", help="where {shard} stands in that file")
    options = parser.parse_args(arguments)
    try:
        beside = Path(__file__).resolve().parent
        system = read_system_settings(options.NifflerSystem, beside=beside, shard=options.Shard)
    except NifflerError as failure:
        print(failure, file=sys.stderr)
        return failure.exit_code
    status = c_echo(system.src_aet, system.query_aet.ae_title, SECONDS)
    print(NOT_CONNECTED if status is None else f"C-ECHO request status: 0x{status:04x}", flush=True)
    return 0 if status == 0 else 1


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    os._exit(exit_code)  # a thread may still wait for the rest of an answer that never comes
