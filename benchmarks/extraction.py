"""C-FIND and retrieval: one process per row, the bare tools given everything at once, and the suite, in turns."""

import itertools
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import by_hand
from benchmarks.by_hand import BareTools
from benchmarks.figures import Check, Figure, Report, by_key
from benchmarks.script import run_script
from demo.studies import WrittenStudy

START_SECONDS = 2.0
MOST_OVER_THE_FLOOR = 1.15
_KEYS = {"accession": "AccessionNumber", "uid": "StudyInstanceUID"}
"""What the rows name: an accession number is one C-FIND for each row, UIDs are asked as a list."""

Way = Callable[[Path], float]
"""One way to get the answers, carried out in a new folder; the seconds it took."""


def measure_find(
    tools: BareTools, studies: Sequence[WrittenStudy], sample: Sequence[WrittenStudy], rounds: int, folder: Path
) -> Report:
    """C-FIND-ONLY; ``sample`` are the studies that are asked one process each, and stand for all."""
    uids = [study.study_instance_uid for study in studies]
    accessions = [study.accession_number for study in studies]

    def suite(keyword: str, values: Sequence[str]) -> Way:
        return lambda place: run_script(place, tools, keyword, values, file_path="CFIND-ONLY").seconds

    scale = len(studies) / len(sample)
    ways: dict[str, tuple[str, Way]] = {
        "a": ("(a) one findscu per row", lambda place: scale * by_hand.find_one_by_one(tools, sample, place)),
        "b": ("(b) one findscu, all query files", lambda place: by_hand.find_all(tools, studies, place)),
        "c-accession": ("(c) the suite, AccessionNumber", suite("AccessionNumber", accessions)),
        "c-uid": ("(c) the suite, StudyInstanceUID", suite("StudyInstanceUID", uids)),
    }
    figures = _in_turns("find", ways, rounds, folder)
    seconds = by_key(figures)
    checks = [
        check
        for key, name in _KEYS.items()
        for check in _checks(seconds["find.a"], seconds["find.b"], seconds[f"find.c-{key}"], name, 10)
    ]
    return Report(f"C-FIND-ONLY, {len(studies)} rows", figures, checks, _notes(studies, sample))


def measure_retrieval(
    tools: BareTools, studies: Sequence[WrittenStudy], sample: Sequence[WrittenStudy], rounds: int, folder: Path
) -> Report:
    """Retrieval of studies over one and over four associations; the suite looks them up first, by either key."""
    values = {
        "AccessionNumber": [study.accession_number for study in studies],
        "StudyInstanceUID": [study.study_instance_uid for study in studies],
    }
    first_images: list[float] = []

    def suite(keyword: str, parallel: int) -> Way:
        def run(place: Path) -> float:
            done = run_script(place, tools, keyword, values[keyword], parallel=parallel)
            first_images.append(done.first_image)
            return done.seconds

        return run

    def bare(processes: int) -> Way:
        return lambda place: by_hand.move_all(tools, studies, place, processes=processes)

    scale = len(studies) / len(sample)
    ways: dict[str, tuple[str, Way]] = {
        "a": ("(a) one movescu per row", lambda place: scale * by_hand.move_one_by_one(tools, sample, place)),
        "b1": ("(b) one movescu, all query files", bare(1)),
        "c1-accession": ("(c) the suite, ParallelRetrievals 1, AccessionNumber", suite("AccessionNumber", 1)),
        "c1-uid": ("(c) the suite, ParallelRetrievals 1, StudyInstanceUID", suite("StudyInstanceUID", 1)),
        "b4": ("(b) four movescu, a quarter each", bare(4)),
        "c4-accession": ("(c) the suite, ParallelRetrievals 4, AccessionNumber", suite("AccessionNumber", 4)),
        "c4-uid": ("(c) the suite, ParallelRetrievals 4, StudyInstanceUID", suite("StudyInstanceUID", 4)),
    }
    figures = _in_turns("retrieval", ways, rounds, folder)
    figures.append(Figure("retrieval.first-image", "(c) first image on disk after", "s", tuple(first_images)))
    seconds = by_key(figures)
    checks = [
        check
        for parallel, times in ((1, 2.5), (4, 7))
        for key, name in _KEYS.items()
        for check in _checks(
            seconds["retrieval.a"], seconds[f"retrieval.b{parallel}"], seconds[f"retrieval.c{parallel}-{key}"],
            f"ParallelRetrievals {parallel}, {name}", times,
        )
    ]  # fmt: skip
    checks.append(Check("first image on disk", seconds["retrieval.first-image"], "s", at_most=3))
    images = sum(len(study.paths) for study in studies)
    title = f"Retrieval, {len(studies)} rows, {images} images"
    return Report(title, figures, checks, _notes(studies, sample))


def _in_turns(part: str, ways: Mapping[str, tuple[str, Way]], rounds: int, folder: Path) -> list[Figure]:
    """Go all the ways, then all again: what else the machine does is then spread over all of them."""
    seconds: dict[str, list[float]] = {key: [] for key in ways}
    for number, (key, (_, way)) in itertools.product(range(rounds), ways.items()):
        place = folder / f"{part}-{key}-{number}"
        seconds[key].append(way(place))
        shutil.rmtree(place)
    return [Figure(f"{part}.{key}", title, "s", tuple(seconds[key])) for key, (title, _) in ways.items()]


def _checks(one_by_one: float, floor: float, suite: float, name: str, times: float) -> list[Check]:
    over = (suite - START_SECONDS) / floor
    return [
        Check(f"{name}: (a) / (c)", one_by_one / suite, "times", at_least=times),
        Check(f"{name}: ((c) - {START_SECONDS:g} s) / (b)", over, "times", at_most=MOST_OVER_THE_FLOOR),
    ]


def _notes(studies: Sequence[WrittenStudy], sample: Sequence[WrittenStudy]) -> list[str]:
    notes = [
        "(a) is called as the tools are installed, (b) with the Java options and log level of the suite; (a) and (b) "
        "know the StudyInstanceUIDs and move them without asking"
    ]
    if len(sample) < len(studies):
        notes.append(f"(a) was measured on {len(sample)} rows and scaled to {len(studies)}")
    return notes
