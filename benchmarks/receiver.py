"""storescp: how many CT slices a second, of DCMTK's, the embedded one and, where it is there, DCM4CHE's."""

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.by_hand import AE_TITLE, BareTools, receiving
from benchmarks.figures import BenchmarkError, Check, Figure, Report, by_key
from benchmarks.processes import free_port, running, seconds_of, wait_until_listening
from demo.studies import write_study

_SLICE_SIZE = 512
_SENDERS = 4
_LEAST_RATIO = 0.4
_DCMTK, _EMBEDDED, _DCM4CHE = "DCMTK", "embedded", "DCM4CHE"


def measure_receiver(setting: str, slices: int, rounds: int, folder: Path) -> Report:
    """Slices a second over one and over four associations; ``slices`` in each of four series."""
    if shutil.which("storescu") is None or shutil.which("storescp") is None:
        raise BenchmarkError("DCMTK was not found; on Debian and Ubuntu: sudo apt-get install dcmtk")
    series = [
        write_study(folder / f"series-{number}", instances_per_series=slices, size=_SLICE_SIZE, seed=str(number))
        for number in range(_SENDERS)
    ]
    folders = [study.paths[0].parent for study in series]
    settings = {_DCMTK: "", _EMBEDDED: _EMBEDDED, **({_DCM4CHE: setting} if setting != _EMBEDDED else {})}
    rates: dict[tuple[str, int], list[float]] = {(name, n): [] for n in (1, _SENDERS) for name in settings}
    for number in range(rounds):
        for name, associations in rates:
            place = folder / f"received-{number}"
            place.mkdir()
            rates[name, associations].append(_rate(settings[name], folders, associations, slices, place))
            shutil.rmtree(place)
    figures = [
        Figure(f"receiver.{name}.{count}", f"{name} storescp, {_associations(count)}", "per s", tuple(values))
        for (name, count), values in rates.items()
    ]
    return Report(
        f"storescp receives {_SENDERS * slices} CT slices of {_SLICE_SIZE} x {_SLICE_SIZE} from DCMTK's storescu",
        figures,
        _checks(by_key(figures)),
    )


def _checks(rates: Mapping[str, float]) -> list[Check]:
    return [
        Check(
            f"embedded / DCMTK, {_associations(associations)}",
            rates[f"receiver.{_EMBEDDED}.{associations}"] / rates[f"receiver.{_DCMTK}.{associations}"],
            "times",
            at_least=_LEAST_RATIO,
        )
        for associations in (1, _SENDERS)
    ]


def _associations(count: int) -> str:
    return "one association" if count == 1 else f"{count} associations"


def _without_delay() -> dict[str, str]:
    """DCMTK's way to turn off Nagle's algorithm, with which the network and not the receiver would be measured."""
    return {**os.environ, "TCP_NODELAY": "1"}


def _rate(setting: str, folders: Sequence[Path], associations: int, slices: int, place: Path) -> float:
    """Slices a second of one receiver; an empty setting is DCMTK."""
    port = free_port()
    output = place / "output.txt"
    images = place / "images"
    images.mkdir()
    with contextlib.ExitStack() as ending:
        if setting:
            tools = BareTools(setting, "", port)
            ending.enter_context(receiving(tools, place, tools.environment_of_suite(place)))
        else:
            # --fork for several associations at once; +B writes what came, as the others do.
            command = ["storescp", "--fork", "+B", "-aet", AE_TITLE, "-od", str(images), str(port)]
            process = ending.enter_context(running(command, output, environment=_without_delay()))
            wait_until_listening(process, port, output)
        send = ["storescu", "-R", "-aec", AE_TITLE, "127.0.0.1", str(port), "+sd"]
        shares = [[str(one) for one in folders[part::associations]] for part in range(associations)]
        seconds = seconds_of([[*send, *share] for share in shares], output, environment=_without_delay())
    received = sum(path.is_file() and path.suffix != ".part" for path in images.rglob("*"))
    if received != slices * len(folders):
        raise BenchmarkError(f"{received} of {slices * len(folders)} slices were received; see {place}")
    return received / seconds
