"""What options of the Java virtual machine do to the start of a tool, and to one that asks the PACS once."""

from pathlib import Path

from benchmarks.by_hand import BareTools, as_installed
from benchmarks.figures import BenchmarkError, Check, Figure, Report, by_key
from benchmarks.processes import seconds_of

_STARTS_PER_ROUND = 5
_FAST_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def measure_java(tools: BareTools, study_instance_uid: str, rounds: int, folder: Path) -> Report:
    """``findscu -V`` and one C-FIND with different options; ``tools`` are Java ones."""
    folder.mkdir()
    version = [tools.launcher("findscu"), "-V"]
    find = [tools.launcher("findscu"), *tools.options(), "-m", f"StudyInstanceUID={study_instance_uid}"]
    output = folder / "output.txt"
    archive = folder / "findscu.jsa"

    def seconds(command: list[str], java_options: str) -> float:
        environment = {**as_installed(), "JAVA_OPTS": java_options}
        return seconds_of([command], output, environment=environment)

    ways = {
        "none": ("no options", ""),
        "compiler": ("-XX:TieredStopAtLevel=1", "-XX:TieredStopAtLevel=1"),
        "collector": ("-XX:+UseSerialGC", "-XX:+UseSerialGC"),
        "both": ("both", _FAST_START),
        "no-sharing": ("both, -Xshare:off", f"{_FAST_START} -Xshare:off"),
    }
    notes = []
    try:
        # Java 13 and later keep the classes that a C-FIND loads; an older one does not know the option.
        seconds(find, f"-XX:+IgnoreUnrecognizedVMOptions {_FAST_START} -XX:ArchiveClassesAtExit={archive}")
    except BenchmarkError:
        notes = ["Java shares no classes of the tools themselves: their class path holds folders that are not empty"]
    if archive.exists():
        ways["own-sharing"] = ("both, -XX:SharedArchiveFile", f"{_FAST_START} -XX:SharedArchiveFile={archive}")
    commands = {"version": ("findscu -V", version), "find": ("one C-FIND", find)}
    values: dict[tuple[str, str], list[float]] = {(what, key): [] for what in commands for key in ways}
    for _ in range(rounds * _STARTS_PER_ROUND):
        for what, key in values:
            values[what, key].append(seconds(commands[what][1], ways[key][1]))
    figures = [
        Figure(f"java.{what}.{key}", f"{commands[what][0]}, {ways[key][0]}", "s", tuple(measured))
        for (what, key), measured in values.items()
    ]
    medians = by_key(figures)
    checks = [
        Check(f"{title}: both / no options", medians[f"java.{what}.both"] / medians[f"java.{what}.none"], "times")
        for what, (title, _) in commands.items()
    ]
    return Report("Options of Java", figures, checks, notes)
