"""The demo: starts the small PACS, retrieves from it what a CSV asks for, and shows what came of it."""

import argparse
import contextlib
import csv
import json
import logging
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from demo.pacs import DemoPacs
from demo.ports import free_port
from demo.studies import write_sample_studies

HERE = Path(__file__).resolve().parent
EXPECTED_OUTCOMES = ("retrieved", "not-found", "invalid", "retrieved")
EXPECTED_EXIT_CODE = 1
MOST_SECONDS = 90
GRACE_SECONDS = 10
_SHOWN_COLUMNS = ("PatientID", "Outcome", "Studies", "Expected", "Received", "Detail")


def run(work: Path, script: Path) -> int:
    """Run the demo in a folder that is emptied first; returns 0 if every row came out as it should."""
    _empty(work)
    write_sample_studies(work / "pacs")
    receiver_port = free_port()
    with DemoPacs(work / "pacs", destinations={"NIFFLER": ("127.0.0.1", receiver_port)}) as pacs:
        _write_settings(work, pacs.address, receiver_port)
        print(f"A PACS with six studies of four patients listens as {pacs.address}.")
        print(f"{work / 'studies.csv'} asks for four patients. The extraction:\n", flush=True)
        exit_code = _extract(script, work)
    if exit_code is None:
        print(f"\nThe extraction was ended: it took more than {MOST_SECONDS} seconds.")
        return 1
    return _show(work, exit_code)


def _extract(script: Path, work: Path) -> int | None:
    """Run the extraction in the work folder; returns its exit code, or None if it had to be ended."""
    with subprocess.Popen([sys.executable, str(script)], cwd=work) as extraction:
        try:
            return extraction.wait(MOST_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if extraction.poll() is None:
                extraction.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    extraction.wait(GRACE_SECONDS)
                extraction.kill()


def _empty(work: Path) -> None:
    if work.exists():
        shutil.rmtree(work)
    (work / "images").mkdir(parents=True)


def _write_settings(work: Path, pacs_address: str, receiver_port: int) -> None:
    """Copy the settings, with the ports that are free here and now."""
    changed = {"system.json": {"SrcAet": pacs_address, "QueryAet": f"NIFFLER:{receiver_port}"}, "config.json": {}}
    for name, changes in changed.items():
        settings = {**json.loads((HERE / name).read_text(encoding="utf-8")), **changes}
        del settings["$schema"]  # a path relative to where they stood
        (work / name).write_text(json.dumps(settings, indent=4) + "\n", encoding="utf-8")
    shutil.copyfile(HERE / "studies.csv", work / "studies.csv")


def _show(work: Path, exit_code: int) -> int:
    outcomes_file = work / "studies_mod.csv.outcomes.csv"
    if not outcomes_file.is_file():
        print(f"\nThe extraction ended with exit code {exit_code} and left no outcomes.")
        return 1
    with outcomes_file.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    print(f"\nWhat became of each row, from {outcomes_file}:\n")
    shown = [name for name in _SHOWN_COLUMNS if rows and name in rows[0]]
    print("\n".join(_table([shown, *([row[name] or "" for name in shown] for row in rows)])))
    print(f"\nThe images, in {work / 'images'}:\n")
    print("\n".join(_tree(work / "images")))
    outcomes = tuple(row.get("Outcome", "") for row in rows)
    if outcomes == EXPECTED_OUTCOMES and exit_code == EXPECTED_EXIT_CODE:
        print(
            f"\nThe extraction ended with exit code {exit_code}, as it should: one row is invalid, a person must look."
        )
        print("All rows came out as expected.")
        return 0
    print(f"\nNOT as expected: exit code {exit_code} for {EXPECTED_EXIT_CODE}, outcomes {', '.join(outcomes)}")
    print(f"for {', '.join(EXPECTED_OUTCOMES)}.")
    return 1


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if number == 0:
            yield "  ".join("-" * width for width in widths)


def _tree(folder: Path, indent: str = "") -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        yield f"{indent}{path.name}{'/' if path.is_dir() else ''}"
        if path.is_dir():
            yield from _tree(path, indent + "    ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo from the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.run", description=__doc__)
    parser.add_argument("--work", type=Path, default=HERE / "work", help="work folder; EMPTIED at the start")
    work = parser.parse_args(arguments).work.resolve()
    if work.exists() and any(work.iterdir()) and not (work / "pacs").is_dir():
        parser.error(f"{work} is not empty and not from an earlier demo")
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return run(work, HERE.parent / "ColdDataRetriever.py")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
