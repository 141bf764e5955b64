"""What the suite relies on in storescp, findscu and movescu: the embedded and the real ones keep the same promises.

Where DCM4CHE_BIN names the bin folder of a DCM4CHE, every test runs against that, too.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

import pytest
from pydicom import Dataset, dcmread
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from demo.ports import free_port
from demo.studies import Series, WrittenStudy, write_study
from niffler import dcm4che, printed
from niffler.feed import Feed
from niffler.query_files import move_query, read_match, write_find_query
from niffler.vocabulary import Ending, FindKind, Query, QueryLevel, Response, Study
from tests.extraction import AE_TITLE, wait_until
from tests.pacs import faults
from tests.pacs.client import Receiver
from tests.pacs.fault import Fault, Occasion
from tests.pacs.hostile import write_hostile_studies
from tests.pacs.scripted import ScriptedPacs

DCM4CHE_BIN = os.environ.get("DCM4CHE_BIN", "embedded")
"""The bin folder of a DCM4CHE."""
ASKED = list(dict.fromkeys(["embedded", DCM4CHE_BIN]))
SECONDS = 30.0
OUT_FILE = "'match-'00000000'.xml'"
FILE_PATH = "{00100020}/{0020000D}/{0020000E}/{00080018}.dcm"
COMMENT = "completed=99, status=0H"
RETURNED = ("PatientID", "PatientName", "StudyInstanceUID", "StudyDescription")
Begin = Callable[..., ScriptedPacs]
Studies = tuple[WrittenStudy, ...]
WriteOrder = Callable[[WrittenStudy], Path]


@dataclass(frozen=True)
class Finished:
    """A tool that has ended, and its lines as the suite reads them."""

    exit_code: int
    lines: tuple[str, ...]

    @property
    def responses(self) -> list[Response]:
        return [response for line in self.lines if (response := printed.response_in(line))]

    @property
    def finals(self) -> dict[int, Response]:
        return {response.message_id: response for response in self.responses if not response.is_pending}

    @property
    def requests(self) -> list[int]:
        return [number for line in self.lines if (number := printed.request_in(line))]

    @property
    def is_accepted(self) -> bool:
        return any(map(printed.accepts_association, self.lines))

    @property
    def trouble(self) -> str:
        return next(filter(None, map(printed.trouble_in, self.lines)), "")

    @property
    def ends_in_good_order(self) -> bool:
        return any(" << A-RELEASE-RQ" in line for line in self.lines)


@dataclass(frozen=True)
class Tools:
    """The three tools, called as the suite calls them."""

    room: dcm4che.Tools
    is_embedded: bool
    version: str

    def start(self, tool: str, *arguments: object, output: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [str(self.room.folder / tool), *map(str, arguments)], env=self.room._environment(), stdout=output,
            stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def run(self, tool: str, *arguments: object) -> Finished:
        process = self.start(tool, *arguments, output=subprocess.PIPE)
        try:
            output, _ = process.communicate(timeout=SECONDS)
        finally:
            end(process, signal.SIGKILL)
        return Finished(process.returncode, tuple(output.decode().splitlines()))

    def find(
        self, pacs: ScriptedPacs | str, queries: Sequence[Path], matches: Path, *extra: object,
        model: str = "StudyRoot", level: str = "STUDY", cancel: int = 1000, seconds: float = 20,
    ) -> Finished:  # fmt: skip
        return self.run(
            "findscu", *self._connection(pacs, model, seconds), "-L", level, "-X", "--out-dir", matches,
            "--out-file", OUT_FILE, "--cancel", cancel, "--response-timeout", int(seconds * 1000), *extra,
            "--not-async", *queries,
        )  # fmt: skip

    def move(
        self, pacs: ScriptedPacs | str, queries: Sequence[Path], *, model: str = "StudyRoot",
        keys: Sequence[str] = ("StudyInstanceUID",), destination: str = "RECEIVER", seconds: float = 20,
    ) -> Finished:  # fmt: skip
        return self.run(
            "movescu", *self._connection(pacs, model, seconds), *(word for key in keys for word in ("-i", key)),
            "-L", "STUDY", "--dest", destination, "--retrieve-timeout", int(seconds * 1000), "--not-async", *queries,
        )  # fmt: skip

    def _connection(self, pacs: ScriptedPacs | str, model: str, seconds: float) -> list[object]:
        address = pacs if isinstance(pacs, str) else pacs.address
        milliseconds = int(seconds * 1000)
        return ["-c", address, "-b", f"{AE_TITLE}:{self.port}", "-M", model, "--connect-timeout", milliseconds,
                "--accept-timeout", milliseconds]  # fmt: skip

    @property
    def port(self) -> int:
        return int(self.room.calling_ae.rpartition(":")[2])


def end(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """End a tool and what its launcher started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    process.wait(SECONDS)


@pytest.fixture(scope="module", params=ASKED, ids=["embedded", "DCM4CHE"][: len(ASKED)])
def tools(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tools:
    room = room_of(request.param, tmp_path_factory.mktemp("logging"), "NOBODY@127.0.0.1:1")
    return Tools(room, request.param == "embedded", room.check())


def room_of(folder: str, logging_folder: Path, pacs: str) -> dcm4che.Tools:
    return dcm4che.Tools(
        dcm4che.tools_folder(folder), logging_folder, pacs, f"{AE_TITLE}:{free_port()}", connect_seconds=20,
        response_seconds=20, retrieve_seconds=20, extra_options={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


@pytest.fixture(scope="module")
def studies(archive: Path) -> Studies:
    """Two studies of one patient, one of another with two series, one in an old character set."""
    return (
        write_study(archive, patient_id="0001", accession_number="A1", size=16),
        write_study(archive, patient_id="0001", accession_number="A2", size=16, instances_per_series=1),
        write_study(
            archive, patient_id="0002", patient_name="Müller^Jürgen", accession_number="A3", size=16,
            series=(Series(), Series("MR", "Sagittal", instances=1)), instances_per_series=2,
        ),
        write_study(
            archive, patient_id="0003", patient_name="Nuñez^Begoña", accession_number="A4", size=16,
            study_description="Küche", instances_per_series=1, character_set="ISO_IR 100",
        ),
    )  # fmt: skip


@pytest.fixture
def begin(archive: Path, studies: Studies, receiver: Receiver) -> Iterator[Begin]:
    """Starts a PACS that holds the studies and can send them to the receiver."""
    destinations = {receiver.ae_title: ("127.0.0.1", receiver.port)}
    with contextlib.ExitStack() as running:

        def start(*script: Fault, folder: Path = archive) -> ScriptedPacs:
            return running.enter_context(ScriptedPacs(folder, *script, destinations=destinations))

        yield start


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


class WriteQuery(Protocol):
    def __call__(self, *returned: str, **keys: str) -> Path: ...


@pytest.fixture
def query(tmp_path: Path) -> WriteQuery:
    """Writes query files for findscu: by keyword, and what is asked for besides."""

    def write(*returned: str, **keys: str) -> Path:
        path = tmp_path / f"query-{len(list(tmp_path.glob('query-*')))}.xml"
        write_find_query(path, Query(FindKind(), keys, returned or RETURNED))
        return path

    return write


@pytest.fixture
def order(tmp_path: Path) -> WriteOrder:
    """Writes query files for movescu."""

    def write(study: WrittenStudy) -> Path:
        path = tmp_path / f"order-{len(list(tmp_path.glob('order-*')))}.dcm"
        path.write_bytes(move_query(Study(study.study_instance_uid, study.patient_id)))
        return path

    return write


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that nobody answers at: its queue of connections is full."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])


def statuses(responses: Sequence[Response]) -> list[tuple[int, int]]:
    return [(response.message_id, response.status) for response in responses]


def answer_matches(*matches: Dataset) -> Fault:
    """Answer every C-FIND with these, valid or not."""

    def strike(occasion: Occasion) -> None:
        occasion.find.matches = list(matches)

    return Fault(frozenset({"find"}), strike)


def match_of(**values: object) -> Dataset:
    """A match with these values by keyword, valid or not."""
    match = Dataset()
    for keyword, value in values.items():
        tag, vr = Tag(keyword), dictionary_VR(keyword)
        if isinstance(value, bytes):
            match[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
        else:
            # As a number, a text that is none could not even be written.
            match[tag] = DataElement(tag, "LO" if vr in ("IS", "DS") else vr, value, validation_mode=IGNORE)
    return match


def delete(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# All three


def test_dcm4che_itself_is_asked_too(tmp_path: Path) -> None:
    if DCM4CHE_BIN == "embedded":
        pytest.skip("to run all this against DCM4CHE, unpack its dcm4che-*-bin.zip and name its bin in DCM4CHE_BIN")
    assert re.search(r"\d\.\d+\.\d", room_of(DCM4CHE_BIN, tmp_path, "NOBODY@127.0.0.1:1").check())


def fed(studies: Sequence[WrittenStudy], *, most: int = 0) -> Feed:
    """A feed of these studies; closed, unless it is for more."""
    feed = Feed(max(most, len(studies)))
    for study in studies:
        assert feed.give(move_query(Study(study.study_instance_uid, study.patient_id)))
    if not most:
        feed.finish()
    return feed


def test_they_know_every_option_that_the_suite_gives_them(
    tools: Tools,
    begin: Begin,
    query: WriteQuery,
    studies: Studies,
    order: WriteOrder,
    tmp_path: Path,
) -> None:
    pacs = begin()
    room = room_of(str(tools.room.folder), tmp_path, pacs.address)
    kind = FindKind(QueryLevel.STUDY, relational=True, patient_root=True)
    finding = room.find([query(PatientID="0001")], kind, tmp_path / "matches", cancel_after=9)
    assert [response.status for response in finding.responses()] == [0xFF00, 0xFF00, 0]
    assert finding.ending.trouble == ""
    moving = room.move(fed([studies[1]]), "RECEIVER", patient_root=False)
    assert [response.status for response in moving.responses()] == [0xFF00, 0]
    assert moving.ending.trouble == ""
    receiving = room.receiver(tmp_path / "storage", FILE_PATH, (), lambda line: None)
    receiving.begin()
    assert receiving.listens(), receiving.last_line
    receiving.stop()
    assert not receiving.is_alive


def test_the_suite_names_the_study_and_its_patient_in_the_patient_root_model(
    tools: Tools, begin: Begin, receiver: Receiver, tmp_path: Path
) -> None:
    study = write_study(tmp_path / "studies", patient_id="Ä0001", size=16, instances_per_series=1)
    pacs = begin(folder=tmp_path / "studies")
    moving = room_of(str(tools.room.folder), tmp_path, pacs.address).move(fed([study]), "RECEIVER", patient_root=True)
    assert [response.status for response in moving.responses()] == [0xFF00, 0]
    [request] = pacs.requests("move")
    assert request.is_patient_root
    assert request.keys == {"PatientID": ("Ä0001",), "StudyInstanceUID": (study.study_instance_uid,)}
    assert receiver.sop_instance_uids() == list(study.sop_instance_uids)


# movescu with a feed: pipes for query files


def test_movescu_moves_what_it_is_fed_while_its_association_stays(
    tools: Tools, begin: Begin, studies: Studies, receiver: Receiver, tmp_path: Path
) -> None:
    pacs = begin()
    feed = fed([studies[0]], most=4)
    moving = room_of(str(tools.room.folder), tmp_path, pacs.address).move(feed, "RECEIVER", patient_root=False)
    answered = []
    for response in moving.responses():
        if response.is_pending:
            continue
        answered.append((response.message_id, response.status))
        if len(answered) == 3:
            moving.finish()
        else:
            study = studies[len(answered)]
            assert feed.give(move_query(Study(study.study_instance_uid, study.patient_id)))
    assert answered == [(1, 0), (2, 0), (3, 0)]
    assert moving.ending == Ending(), "released in good order"
    assert [request.keys["StudyInstanceUID"] for request in pacs.requests("move")] == [
        (study.study_instance_uid,) for study in studies[:3]
    ]
    assert len({request.association for request in pacs.requests("move")}) == 1
    wanted = [uid for study in studies[:3] for uid in study.sop_instance_uids]
    assert sorted(receiver.sop_instance_uids()) == sorted(wanted)


@pytest.mark.parametrize("studies_at_once", [1, 2])
@pytest.mark.parametrize("fault", [faults.abort, faults.drop])
def test_a_broken_association_ends_movescu_though_its_feed_is_open(
    tools: Tools, begin: Begin, studies: Studies, receiver: Receiver, tmp_path: Path, fault: Callable[[str], Fault],
    studies_at_once: int,
) -> None:  # fmt: skip
    pacs = begin(fault("move"))
    feed = fed(studies[:studies_at_once], most=9)
    moving = room_of(str(tools.room.folder), tmp_path, pacs.address).move(feed, "RECEIVER", patient_root=False)
    begun = time.monotonic()
    assert list(moving.responses()) == []
    assert time.monotonic() - begun < 20
    assert moving.ending.under_way == 1
    why = "A-ABORT[source: 0 - service-user, reason: 0]" if fault is faults.abort else "the connection was closed"
    assert moving.ending.trouble == why


def test_what_movescu_was_fed_and_has_not_read_is_withdrawn(
    tools: Tools, begin: Begin, studies: Studies, receiver: Receiver, tmp_path: Path
) -> None:
    pacs = begin()
    feed = fed(studies[:4], most=9)
    moving = room_of(str(tools.room.folder), tmp_path, pacs.address).move(feed, "RECEIVER", patient_root=False)
    moving.stop_after_current()  # Java has not come to the first by now
    assert list(moving.responses()) == []
    assert moving.ending == Ending()
    assert pacs.requests("move") == []


@pytest.mark.parametrize("tool", ["storescp", "findscu", "movescu"])
def test_an_unknown_option_ends_with_exit_code_2(tools: Tools, tool: str) -> None:
    finished = tools.run(tool, "--no-such-option")
    assert finished.exit_code == 2
    assert finished.trouble == "Unrecognized option: --no-such-option"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("findscu", "-c FAULTY -b X"),
        ("findscu", "-c FAULTY@127.0.0.1:port -b X"),
        ("movescu", "-c FAULTY@127.0.0.1:104 -b X"),
        ("storescp", "-b X:port"),
        ("storescp", ""),
        ("findscu", ""),
        ("movescu", ""),
    ],
    ids=[
        "a PACS without an address",
        "a port of the PACS that is none",
        "no destination",
        "an own port that is none",
        "no own address",
        "no PACS to ask",
        "no PACS to retrieve from",
    ],
)
def test_what_is_wrong_or_missing_on_the_command_line_is_trouble(tools: Tools, tool: str, arguments: str) -> None:
    finished = tools.run(tool, *arguments.split())
    assert finished.exit_code == 2
    assert finished.trouble


def test_an_unknown_information_model_ends_with_exit_code_2(tools: Tools, tmp_path: Path) -> None:
    assert tools.find("FAULTY@127.0.0.1:1", [], tmp_path, model="NoRoot").exit_code == 2


# findscu: what is answered


def test_message_n_answers_query_file_n_and_matches_are_numbered_over_all(
    tools: Tools, begin: Begin, query: WriteQuery, studies: Studies, tmp_path: Path
) -> None:
    pacs, matches = begin(), tmp_path / "matches"
    asked = [query(PatientID=patient) for patient in ("0001", "none", "0002", "0001")]
    finished = tools.find(pacs, asked, matches)
    assert finished.exit_code == 0
    assert finished.is_accepted
    assert finished.requests == [1, 2, 3, 4]
    pending, success = 0xFF00, 0
    expected = [(1, pending), (1, pending), (1, success), (2, success), (3, pending), (3, success)]
    assert statuses(finished.responses) == [*expected, (4, pending), (4, pending), (4, success)]
    assert names(matches) == [dcm4che.match_name(number) for number in range(1, 6)]
    uids = [read_match(matches / dcm4che.match_name(number)).first("StudyInstanceUID") for number in range(1, 6)]
    first, second, third = (study.study_instance_uid for study in studies[:3])
    assert uids == [first, second, third, first, second]
    assert [request.association for request in pacs.requests("find")] == [1, 1, 1, 1]
    assert finished.ends_in_good_order
    assert finished.trouble == ""


def test_no_match_leaves_no_file(tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path) -> None:
    finished = tools.find(begin(), [query(PatientID="none")], tmp_path / "matches")
    assert finished.exit_code == 0
    assert names(tmp_path / "matches") == []


def test_more_than_a_hundred_matches_are_all_written_in_order(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path
) -> None:
    many = [match_of(PatientID=f"{number:04}") for number in range(1, 124)]
    finished = tools.find(begin(answer_matches(*many)), [query(PatientID="0001")], tmp_path / "matches")
    assert len(finished.responses) == 124
    read = [read_match(path).first("PatientID") for path in sorted((tmp_path / "matches").iterdir())]
    assert read == [f"{number:04}" for number in range(1, 124)]


def test_a_match_is_on_disk_when_the_response_after_it_is_printed(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path
) -> None:
    pacs, matches = begin(faults.hang("find", after=2)), tmp_path / "matches"
    room = room_of(str(tools.room.folder), tmp_path, pacs.address)
    finding = room.find([query(PatientID="0001")], FindKind(), matches, cancel_after=9)
    responses = finding.responses()
    assert [next(responses).status for _ in range(2)] == [0xFF00, 0xFF00]
    assert read_match(matches / dcm4che.match_name(1)).first("PatientID") == "0001"
    finding.kill()


def test_whatever_status_the_pacs_answers_the_exit_code_is_0(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path
) -> None:
    answers = (0xA700, 0xA900, 0xC000, 0xC123, 0x0122, 0x0124, 0x0110, 0xFE00, 0xB000, 0x0001)
    script = [faults.answer_find(status, COMMENT).key("PatientID", f"{status:04X}") for status in answers]
    finished = tools.find(begin(*script), [query(PatientID=f"{status:04X}") for status in answers], tmp_path / "out")
    assert finished.exit_code == 0
    assert statuses(finished.responses) == list(enumerate(answers, start=1))
    assert {response.comment for response in finished.responses} == {COMMENT}
    assert {response.completed for response in finished.responses} == {None}, "a comment is not read as counts"


def test_each_query_is_cancelled_after_so_many_matches_and_the_next_one_is_asked(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path
) -> None:
    many = [match_of(PatientID=f"{number:04}") for number in range(500)]
    pacs = begin(answer_matches(*many).first(2), faults.slow("find", seconds=0.01))
    finished = tools.find(pacs, [query(PatientID="0001") for _ in range(3)], tmp_path / "matches", cancel=3)
    assert finished.exit_code == 0
    assert [final.status for final in finished.finals.values()] == [0xFE00, 0xFE00, 0]
    for number in (1, 2):
        assert 3 < sum(response.message_id == number for response in finished.responses) < 200
    assert len(names(tmp_path / "matches")) == len(finished.responses) - 3


def test_query_files_that_are_gone_end_findscu_in_good_order(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path
) -> None:
    asked = [query(PatientID="0001") for _ in range(5)]
    pacs = begin(faults.call(lambda: delete(asked), "find").first(1))
    finished = tools.find(pacs, asked, tmp_path / "matches")
    assert finished.exit_code == 2
    assert len(pacs.requests("find")) <= 2
    assert len(finished.finals) == len(finished.requests) == len(pacs.requests("find")), "every answer is read"
    assert finished.ends_in_good_order


# findscu: what is asked


def test_the_keys_arrive_as_they_were_written(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path, studies: Studies
) -> None:
    pacs = begin()
    uids = tuple(study.study_instance_uid for study in studies[:3])
    asked = [
        query("PatientID", "NumberOfStudyRelatedInstances", PatientName="Müller^Jürgen^^Dr."),
        query("PatientID", PatientName="山田^太郎"),
        query(PatientID="00001234", StudyDate="20200101-20200131", ModalitiesInStudy="CT"),
        query("PatientID", StudyInstanceUID="\\".join(uids)),
        query("PatientID", AccessionNumber="<&\"'> $(x) %s"),
    ]
    assert tools.find(pacs, asked, tmp_path / "matches").exit_code == 0
    assert [request.keys for request in pacs.requests("find")] == [
        {"PatientID": (), "PatientName": ("Müller^Jürgen^^Dr.",), "NumberOfStudyRelatedInstances": ()},
        {"PatientID": (), "PatientName": ("山田^太郎",)},
        {
            "StudyDate": ("20200101-20200131",), "ModalitiesInStudy": ("CT",), "PatientID": ("00001234",),
            "PatientName": (), "StudyInstanceUID": (), "StudyDescription": (),
        },
        {"PatientID": (), "StudyInstanceUID": uids},
        {"PatientID": (), "AccessionNumber": ("<&\"'> $(x) %s",)},
    ]  # fmt: skip
    [first, *_] = pacs.requests("find")
    assert (first.calling_ae_title, first.called_ae_title, first.level) == (AE_TITLE, "FAULTY", "STUDY")
    assert not first.is_patient_root
    assert not first.is_relational
    assert [request.message_id for request in pacs.requests("find")] == [1, 2, 3, 4, 5]


def test_the_level_the_model_and_relational_queries_are_as_the_options_say(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path
) -> None:
    pacs = begin()
    asked = [query("SeriesInstanceUID", Modality="MR")]
    finished = tools.find(pacs, asked, tmp_path / "matches", "--relational", model="PatientRoot", level="SERIES")
    [request] = pacs.requests("find")
    assert (request.level, request.is_patient_root, request.is_relational) == ("SERIES", True, True)
    assert statuses(finished.responses) == [(1, 0xFF00), (1, 0)]


def test_the_port_of_the_own_ae_is_not_bound(tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", tools.port)):
        assert tools.find(begin(), [query(PatientID="0001")], tmp_path / "matches").exit_code == 0


def test_what_is_asked_and_answered_is_not_printed(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path
) -> None:
    finished = tools.find(begin(), [query(PatientName="Müller^Jürgen")], tmp_path / "matches")
    assert len(finished.responses) == 2
    printed_text = "\n".join(finished.lines)
    assert not re.search(r"M.?ller|0002|Chest", printed_text)
    assert "DEBUG" not in printed_text


# findscu: matches as files

RICH = """<NativeDicomModel xml:space="preserve">
<DicomAttribute keyword="SpecificCharacterSet" tag="00080005" vr="CS">
  <Value number="1">ISO_IR 192</Value></DicomAttribute>
<DicomAttribute keyword="StudyDate" tag="00080020" vr="DA"><Value number="1">20200115</Value></DicomAttribute>
<DicomAttribute keyword="AccessionNumber" tag="00080050" vr="SH"/>
<DicomAttribute keyword="QueryRetrieveLevel" tag="00080052" vr="CS"><Value number="1">STUDY</Value></DicomAttribute>
<DicomAttribute keyword="ModalitiesInStudy" tag="00080061" vr="CS">
  <Value number="1">CT</Value><Value number="2"/><Value number="3">SR</Value></DicomAttribute>
<DicomAttribute keyword="StudyDescription" tag="00081030" vr="LO">
  <Value number="1">Knee &amp; &lt;hip&gt; "left", it's</Value></DicomAttribute>
<DicomAttribute keyword="ReferencedStudySequence" tag="00081110" vr="SQ">
  <Item number="1"><DicomAttribute keyword="ReferencedSOPInstanceUID" tag="00081155" vr="UI">
    <Value number="1">1.2.3</Value></DicomAttribute></Item>
  <Item number="2"/></DicomAttribute>
<DicomAttribute keyword="PatientName" tag="00100010" vr="PN"><PersonName number="1">
  <Alphabetic><FamilyName>Yamada</FamilyName><GivenName>Tarou</GivenName><NamePrefix>Dr.</NamePrefix></Alphabetic>
  <Ideographic><FamilyName>山田</FamilyName><GivenName>太郎</GivenName></Ideographic>
  <Phonetic><FamilyName>やまだ</FamilyName><GivenName>たろう</GivenName></Phonetic></PersonName></DicomAttribute>
<DicomAttribute keyword="OtherPatientNames" tag="00101001" vr="PN">
  <PersonName number="1"><Alphabetic><FamilyName>Müller</FamilyName></Alphabetic></PersonName>
  <PersonName number="2"><Alphabetic><GivenName>Jürgen</GivenName></Alphabetic></PersonName></DicomAttribute>
<DicomAttribute keyword="PatientSize" tag="00101020" vr="DS"><Value number="1">1.70</Value></DicomAttribute>
<DicomAttribute keyword="PatientComments" tag="00104000" vr="LT">
  <Value number="1">  one\\two
three</Value></DicomAttribute>
<DicomAttribute tag="00110001" privateCreator="ACME" vr="UN"><InlineBinary>cHJpdmF0ZSA=</InlineBinary></DicomAttribute>
<DicomAttribute tag="00110002" privateCreator="ACME" vr="UN"><InlineBinary>AAEC/w==</InlineBinary></DicomAttribute>
<DicomAttribute keyword="StudyInstanceUID" tag="0020000D" vr="UI"><Value number="1">1.2.840.1</Value></DicomAttribute>
<DicomAttribute keyword="NumberOfStudyRelatedInstances" tag="00201208" vr="IS">
  <Value number="1">12</Value></DicomAttribute>
<DicomAttribute keyword="FrameIncrementPointer" tag="00280009" vr="AT">
  <Value number="1">00181063</Value></DicomAttribute>
<DicomAttribute keyword="Rows" tag="00280010" vr="US"><Value number="1">512</Value></DicomAttribute>
<DicomAttribute keyword="RealWorldValueSlope" tag="00409225" vr="FD"><Value number="1">0.5</Value></DicomAttribute>
</NativeDicomModel>"""


def rich_match() -> Dataset:
    match = match_of(
        SpecificCharacterSet="ISO_IR 192", StudyDate="20200115", AccessionNumber="", QueryRetrieveLevel="STUDY",
        ModalitiesInStudy=b"CT\\\\SR ", StudyDescription="Knee & <hip> \"left\", it's ",
        PatientName="Yamada^Tarou^^Dr.=山田^太郎=やまだ^たろう", PatientSize=b" 1.70 ",
        OtherPatientNames=["Müller", "^Jürgen"], PatientComments="  one\\two\nthree ", StudyInstanceUID="1.2.840.1",
        NumberOfStudyRelatedInstances=b"12", FrameIncrementPointer=0x00181063, Rows=512, RealWorldValueSlope=0.5,
    )  # fmt: skip
    item = match_of(ReferencedSOPInstanceUID="1.2.3")
    match.ReferencedStudySequence = [item, Dataset()]
    block = match.private_block(0x0011, "ACME", create=True)
    block.add_new(0x01, "LO", "private")
    block.add_new(0x02, "OB", b"\0\1\2\xff")
    return match


def elements_of(element: ElementTree.Element) -> tuple[str, dict[str, str], str, list[object]]:
    """An element with what it holds; white space between elements means nothing."""
    text = element.text or ""
    return element.tag, element.attrib, text.strip() if len(element) else text, [elements_of(one) for one in element]


def test_a_match_is_written_as_native_dicom_model_element_by_element(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path
) -> None:
    tools.find(begin(answer_matches(rich_match())), [query(PatientID="0001")], tmp_path / "matches")
    written = ElementTree.parse(tmp_path / "matches" / dcm4che.match_name(1)).getroot()
    assert elements_of(written) == elements_of(ElementTree.fromstring(RICH))


NAMES = {
    "ISO_IR 100": "Müller^Jürgen",
    "ISO_IR 144": "Дмитрий",
    "ISO_IR 126": "Διονυσιος",
    "ISO_IR 192": "山田^太郎",
    "GB18030": "王^小东",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "ISO 2022 IR 100\\ISO 2022 IR 144": "Müller",
}


def test_matches_in_any_character_set_are_written_in_utf_8(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path
) -> None:
    matches = [
        match_of(SpecificCharacterSet=character_set.split("\\"), PatientName=name)
        for character_set, name in NAMES.items()
    ]
    tools.find(begin(answer_matches(*matches)), [query(PatientID="0001")], tmp_path / "matches")
    paths = [tmp_path / "matches" / dcm4che.match_name(number) for number, _ in enumerate(matches, start=1)]
    assert [read_match(path).first("PatientName") for path in paths] == list(NAMES.values())
    for path in paths:
        assert "\N{REPLACEMENT CHARACTER}" not in path.read_bytes().decode("utf-8")


def test_a_name_that_is_not_ascii_is_found_by_itself(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path
) -> None:
    pacs = begin()
    finished = tools.find(pacs, [query(PatientName="Müller^Jürgen"), query(PatientName="Nuñez^Begoña")], tmp_path)
    assert statuses(finished.responses) == [(1, 0xFF00), (1, 0), (2, 0xFF00), (2, 0)]
    found = [read_match(tmp_path / dcm4che.match_name(number)) for number in (1, 2)]
    assert [match.first("PatientName") for match in found] == ["Müller^Jürgen", "Nuñez^Begoña"]
    assert found[1].first("StudyDescription") == "Küche"


HOSTILE_VALUES = {
    "padding": ("PatientID", "0001    ", "0001"),
    "white space around": ("PatientID", "  0001  ", "0001"),
    "a null character behind": ("StudyInstanceUID", b"1.2.3\0", "1.2.3"),
    "a null character within": ("PatientID", b"a\0b ", "a\N{REPLACEMENT CHARACTER}b"),
    "control characters": ("PatientID", b"a\x1bb\x07c ", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"),
    "a line break": ("StudyDescription", b"a\r\nb", "a\r\nb"),
    "a tab": ("StudyDescription", b"a\tb ", "a\tb"),
    "markup": ("StudyDescription", "]]><Value>&lt;&amp;", "]]><Value>&lt;&amp;"),
    "beyond the basic plane": ("StudyDescription", "a\U0001f600b", "a\U0001f600b"),
    "too long": ("PatientID", "x" * 3000, "x" * 3000),
    "a number that is none": ("NumberOfStudyRelatedInstances", b"many", "many"),
    "a number with blanks": ("NumberOfStudyRelatedInstances", b" 12 ", "12"),
    "a date that is none": ("StudyDate", b"yesterday ", "yesterday"),
    "an old date": ("StudyDate", b"2020.01.15", "2020.01.15"),
    "a UID that is none": ("StudyInstanceUID", b"../../etc/passwd", "../../etc/passwd"),
    "not in the character set": ("PatientID", b"M\xfcller", "M\N{REPLACEMENT CHARACTER}ller"),
    "a carriage return": ("StudyDescription", b"a\rb ", "a\rb"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_hostile_values_are_written_so_that_they_can_be_read(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path
) -> None:
    hostile = [
        match_of(SpecificCharacterSet="ISO_IR 192", **{keyword: value}) for keyword, value, _ in HOSTILE_VALUES.values()
    ]
    finished = tools.find(begin(answer_matches(*hostile)), [query(PatientID="0001")], tmp_path / "matches")
    assert finished.exit_code == 0
    assert len(finished.responses) == len(hostile) + 1
    read = {
        name: read_match(tmp_path / "matches" / dcm4che.match_name(number)).first(keyword)
        for number, (name, (keyword, _, _)) in enumerate(HOSTILE_VALUES.items(), start=1)
    }
    assert read == {name: expected for name, (_, _, expected) in HOSTILE_VALUES.items()}


# findscu and movescu: what goes wrong with the association


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("permanent", "result: 1 - rejected-permanent, source: 1 - service-user, reason: 1 - no-reason-given"),
        (
            "calling AE unknown",
            "result: 1 - rejected-permanent, source: 1 - service-user, reason: 3 - calling-AE-title-not-recognized",
        ),
        (
            "called AE unknown",
            "result: 1 - rejected-permanent, source: 1 - service-user, reason: 7 - called-AE-title-not-recognized",
        ),
        (
            "congestion",
            "result: 2 - rejected-transient, source: 3 - service-provider (Presentation related function), "
            "reason: 1 - temporary-congestion",
        ),
    ],
)
def test_a_rejected_association_says_why(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path, reason: str, words: str
) -> None:
    finished = tools.find(begin(faults.reject(reason)), [query(PatientID="0001")], tmp_path / "matches")
    assert finished.exit_code == 2
    assert finished.trouble == f"A-ASSOCIATE-RJ[{words}]"
    assert not finished.is_accepted
    assert finished.requests == []


@pytest.mark.parametrize("fault", [faults.abort("association"), faults.drop("association")], ids=["aborted", "dropped"])
def test_an_association_that_is_not_answered_is_trouble(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path, fault: Fault
) -> None:
    finished = tools.find(begin(fault), [query(PatientID="0001")], tmp_path / "matches")
    assert finished.exit_code == 2
    assert finished.trouble
    assert not finished.is_accepted


def test_a_pacs_that_is_not_there_is_trouble(tools: Tools, query: WriteQuery, tmp_path: Path) -> None:
    finished = tools.find(f"FAULTY@127.0.0.1:{free_port()}", [query(PatientID="0001")], tmp_path)
    assert finished.exit_code == 2
    assert finished.trouble == "Connection refused"


def test_a_host_that_nobody_knows_is_trouble(tools: Tools, query: WriteQuery, tmp_path: Path) -> None:
    finished = tools.find("FAULTY@no-such-host.invalid:104", [query(PatientID="0001")], tmp_path)
    assert finished.exit_code == 2
    assert "no-such-host.invalid" in finished.trouble


def test_a_connection_that_nobody_answers_times_out(
    tools: Tools, silent_port: int, query: WriteQuery, tmp_path: Path
) -> None:
    finished = tools.find(f"FAULTY@127.0.0.1:{silent_port}", [query(PatientID="0001")], tmp_path, seconds=0.5)
    assert finished.exit_code == 2
    assert "timed out" in finished.trouble.lower()


def test_an_association_request_that_nobody_answers_times_out(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path
) -> None:
    finished = tools.find(begin(faults.hang("association")), [query(PatientID="0001")], tmp_path, seconds=0.5)
    assert finished.exit_code == 2
    assert finished.trouble
    assert not finished.is_accepted


def test_a_server_that_speaks_no_dicom_is_trouble(tools: Tools, query: WriteQuery, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as threads:
        greeting = threads.submit(greet, server)
        finished = tools.find(f"FAULTY@127.0.0.1:{server.getsockname()[1]}", [query(PatientID="0001")], tmp_path)
        greeting.result(SECONDS)
    assert finished.exit_code == 2
    assert finished.trouble
    assert not finished.is_accepted


def greet(server: socket.socket) -> None:
    """Say hello as an SSH server does, and close when the client does."""
    server.settimeout(SECONDS)
    connection, _ = server.accept()
    with connection, contextlib.suppress(ConnectionError):
        connection.settimeout(SECONDS)
        connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
        while connection.recv(4096):
            pass


def test_a_query_that_is_not_answered_times_out(tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path) -> None:
    pacs = begin(faults.hang("find").nth(2))
    asked = [query(PatientID="0001") for _ in range(3)]
    finished = tools.find(pacs, asked, tmp_path / "matches", seconds=2)
    assert finished.exit_code == 2
    assert finished.trouble == "2:DIMSE-RSP timeout expired"
    assert list(finished.finals) == [1]
    assert len(pacs.requests("find")) == 2, "what followed is not asked"
    assert finished.is_accepted


@pytest.mark.parametrize("fault", [faults.abort("find", after=1), faults.drop("find", after=1)])
def test_an_association_that_breaks_in_a_query_is_trouble(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path, fault: Fault
) -> None:
    pacs = begin(fault.nth(2))
    finished = tools.find(pacs, [query(PatientID="0001") for _ in range(3)], tmp_path / "matches")
    assert finished.exit_code == 2
    assert finished.trouble
    assert statuses(finished.responses) == [(1, 0xFF00), (1, 0xFF00), (1, 0), (2, 0xFF00)]
    assert len(pacs.requests("find")) == 2


def test_an_abort_is_told_in_its_own_words(tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path) -> None:
    finished = tools.find(begin(faults.abort("find")), [query(PatientID="0001")], tmp_path / "matches")
    assert finished.exit_code == 2
    assert finished.trouble == "A-ABORT[source: 0 - service-user, reason: 0]"


def test_a_model_that_the_pacs_does_not_offer_is_trouble(
    tools: Tools, begin: Begin, query: WriteQuery, tmp_path: Path
) -> None:
    pacs = begin(faults.refuse_model("PatientRoot"))
    finished = tools.find(pacs, [query(PatientID="0001")], tmp_path / "matches", model="PatientRoot")
    assert finished.exit_code == 2
    assert "No Presentation Context" in finished.trouble
    assert pacs.requests("find") == []


# movescu


def test_message_n_moves_the_study_of_query_file_n(
    tools: Tools, begin: Begin, receiver: Receiver, studies: Studies, order: WriteOrder
) -> None:
    pacs = begin()
    finished = tools.move(pacs, [order(study) for study in studies[:3]])
    assert finished.exit_code == 0
    assert finished.is_accepted
    assert finished.requests == [1, 2, 3]
    assert pacs.moved() == [study.study_instance_uid for study in studies[:3]]
    pending = [Response(1, 0xFF00, 3 - number, number, 0, 0) for number in (1, 2, 3)]
    assert finished.responses[:4] == [*pending, Response(1, 0, None, 3, 0, 0)]
    assert [final.completed for final in finished.finals.values()] == [3, 1, 3]
    assert receiver.sop_instance_uids() == [uid for study in studies[:3] for uid in study.sop_instance_uids]
    assert finished.ends_in_good_order
    [first, *_] = pacs.requests("move")
    assert (first.calling_ae_title, first.destination, first.level) == (AE_TITLE, "RECEIVER", "STUDY")
    assert first.keys == {"StudyInstanceUID": (studies[0].study_instance_uid,)}


def test_the_identifier_holds_what_the_options_name_in_ascending_order(
    tools: Tools, begin: Begin, tmp_path: Path
) -> None:
    study = write_study(tmp_path / "studies", patient_id="Ä0001", size=16, instances_per_series=1)
    pacs = begin(folder=tmp_path / "studies")
    (tmp_path / "order.dcm").write_bytes(move_query(Study(study.study_instance_uid, study.patient_id)))
    keys = ("SpecificCharacterSet", "PatientID", "StudyInstanceUID")
    for given in (keys, keys[::-1]):
        tools.move(pacs, [tmp_path / "order.dcm"], model="PatientRoot", keys=given)
    ascending, descending = pacs.requests("move")
    assert ascending.keys == {"PatientID": ("Ä0001",), "StudyInstanceUID": (study.study_instance_uid,)}
    # DCM4CHE looks the tags up as in a sorted list: in another order it leaves some out without a word.
    assert set(descending.keys) == {"PatientID"}


def test_whatever_status_a_move_ends_with_the_exit_code_is_0(
    tools: Tools, begin: Begin, studies: Studies, order: WriteOrder
) -> None:
    answers = (0xA701, 0xA702, 0xA801, 0xA900, 0xC000, 0xC5A1, 0x0122, 0x0124, 0xFE00)
    script = [faults.answer_move(status, COMMENT).nth(turn) for turn, status in enumerate(answers, start=1)]
    pacs = begin(*script)
    finished = tools.move(pacs, [order(studies[0]) for _ in answers])
    assert finished.exit_code == 0
    expected = [Response(number, status, comment=COMMENT) for number, status in enumerate(answers, start=1)]
    assert list(finished.finals.values()) == expected
    assert finished.trouble == ""


def test_final_responses_are_read_with_their_counts(
    tools: Tools, begin: Begin, studies: Studies, order: WriteOrder
) -> None:
    cases = [
        (faults.fail_instances(1), Response(1, 0xB000, None, 2, 1, 0)),
        (faults.fail_instances(), Response(2, 0xA702, None, 0, 3, 0)),
        (faults.send_nothing(), Response(3, 0, None, 0, 0, 0)),
        (faults.no_counts(), Response(4, 0)),
        (faults.no_pending_responses(), Response(5, 0, None, 3, 0, 0)),
        (faults.answer_move(0xB000, "x" * 64, after=1, with_counts=True), Response(6, 0xB000, None, 1, 2, 0, "x" * 64)),
    ]
    pacs = begin(*(fault.nth(turn) for turn, (fault, _) in enumerate(cases, start=1)))
    finished = tools.move(pacs, [order(studies[0]) for _ in cases])
    assert finished.exit_code == 0
    assert list(finished.finals.values()) == [final for _, final in cases]


def test_an_unknown_destination_is_a_status_and_not_a_failure(
    tools: Tools, begin: Begin, studies: Studies, order: WriteOrder
) -> None:
    finished = tools.move(begin(), [order(studies[0])], destination="STRANGER")
    assert finished.exit_code == 0
    assert [response.status for response in finished.responses] == [0xA801]


@pytest.mark.parametrize("fault", [faults.abort("move", after=1), faults.drop("move", after=1)])
def test_an_association_that_breaks_in_a_move_leaves_the_rest_unasked(
    tools: Tools, begin: Begin, studies: Studies, order: WriteOrder, fault: Fault
) -> None:
    pacs = begin(fault.nth(2))
    finished = tools.move(pacs, [order(study) for study in (studies[1], studies[0], studies[2], studies[3])])
    assert finished.exit_code == 2
    assert finished.trouble
    assert statuses(finished.responses) == [(1, 0xFF00), (1, 0), (2, 0xFF00)]
    assert pacs.moved() == [study.study_instance_uid for study in (studies[1], studies[0])]
    assert set(finished.requests) <= {1, 2, 3}, "one more may be announced, and no further one"


def test_a_pacs_that_falls_silent_in_a_move_is_left_after_the_retrieve_timeout(
    tools: Tools, begin: Begin, studies: Studies, order: WriteOrder
) -> None:
    pacs = begin(faults.hang("move", after=2))
    finished = tools.move(pacs, [order(studies[0]), order(studies[1])], seconds=2)
    assert finished.exit_code == 2
    assert finished.trouble == "1:DIMSE-RSP timeout expired"
    assert statuses(finished.responses) == [(1, 0xFF00), (1, 0xFF00)]
    assert pacs.moved() == [studies[0].study_instance_uid]


def test_the_retrieve_timeout_begins_anew_with_each_response(
    tools: Tools, begin: Begin, studies: Studies, order: WriteOrder
) -> None:
    pacs = begin(faults.slow("move", seconds=0.8))
    finished = tools.move(pacs, [order(studies[0])], seconds=2)
    assert finished.exit_code == 0
    assert finished.finals[1].completed == 3


def test_query_files_that_are_gone_end_movescu_in_good_order(
    tools: Tools, begin: Begin, studies: Studies, order: WriteOrder
) -> None:
    orders = [order(study) for study in studies]
    pacs = begin(faults.call(lambda: delete(orders), "move", after=1).first(1))
    finished = tools.move(pacs, orders)
    assert finished.exit_code == 2
    assert len(pacs.moved()) <= 2, "at most one more study"
    assert len(finished.finals) == len(finished.requests) == len(pacs.moved()), "every answer is read"
    assert all(final.status == 0 for final in finished.finals.values())
    assert finished.ends_in_good_order


# storescp


@dataclass(frozen=True)
class Storing:
    """A storescp that listens."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    port: int
    output: Path

    @property
    def lines(self) -> list[str]:
        return self.output.read_text(encoding="utf-8", errors="replace").splitlines()

    @property
    def reported(self) -> list[Path]:
        """What its lines say is stored, as the suite reads them."""
        stored = printed.StoredFiles()
        return [Path(path) for line in self.lines if (path := stored.path_in(line))]

    @property
    def files(self) -> set[Path]:
        return {path for path in self.folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def storing(tools: Tools, folder: Path, *options: str, file_path: str = FILE_PATH) -> Iterator[Storing]:
    """A storescp, started as the suite does."""
    port, output = free_port(), folder.with_name("storescp.out")
    with output.open("wb") as stream:
        process = tools.start(
            "storescp", "--accept-unknown", *options, "--directory", folder, "--filepath", file_path,
            "-b", f"{AE_TITLE}:{port}", output=stream.fileno(),
        )  # fmt: skip
    running = Storing(process, folder, port, output)
    try:
        wait_until(lambda: process.poll() is not None or any(map(printed.is_listening, running.lines)), SECONDS)
        assert process.poll() is None, running.lines
        yield running
    finally:
        end(process, signal.SIGTERM)


def connect(port: int, paths: Sequence[Path], *, calling: str = "PACS", called: str = AE_TITLE) -> Association:
    """An association for these files."""
    ae = AE(calling)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = 10
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    kinds = dict.fromkeys((header.SOPClassUID, header.file_meta.TransferSyntaxUID) for header in headers)
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in kinds]
    return ae.associate("127.0.0.1", port, [*contexts, build_context(Verification)], called)


def send(port: int, *paths: Path, calling: str = "PACS") -> list[int]:
    """The status of each C-STORE over one association."""
    association = connect(port, paths, calling=calling)
    assert association.is_established
    sent = [int(association.send_c_store(path).Status) for path in paths]
    association.release()
    return sent


def image(path: Path, syntax: UID, **values: str) -> Path:
    """An image with all kinds of elements in a transfer syntax."""
    study = write_study(path.with_suffix(""), size=16, instances_per_series=1, accession_number=path.stem)
    dataset = dcmread(study.paths[0])
    list(dataset.iterall())  # what is still encoded as in the file cannot change its byte order
    dataset.private_block(0x0011, "ACME", create=True).add_new(0x01, "OB", bytes(range(256)))
    dataset.RequestAttributesSequence = [match_of(ScheduledProcedureStepID="1"), match_of(RequestedProcedureID="2")]
    for keyword, value in values.items():
        dataset[keyword] = DataElement(keyword, dictionary_VR(keyword), value, validation_mode=IGNORE)
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    elif syntax == JPEGBaseline8Bit:
        dataset.PixelData = encapsulate([b"\xff\xd8not looked at\xff\xd9"])
        dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    rewritten = Dataset()
    rewritten.update(dataset)
    rewritten.file_meta = dataset.file_meta
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that values are invalid may be the point
        rewritten.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "outer" / "storage"


@pytest.fixture(autouse=True)
def outer_folder(tmp_path: Path) -> None:
    (tmp_path / "outer").mkdir()


SYNTAXES = (
    ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
    JPEGBaseline8Bit,
)  # fmt: skip


def test_the_files_hold_what_was_sent_in_every_transfer_syntax(tools: Tools, storage: Path, tmp_path: Path) -> None:
    sent = [image(tmp_path / f"sent-{number}.dcm", syntax) for number, syntax in enumerate(SYNTAXES)]
    with storing(tools, storage) as running:
        assert send(running.port, *sent) == [0] * len(sent)
        assert len(running.reported) == len(sent)
        assert running.files == set(running.reported)
        for original, path in zip(map(dcmread, sent), running.reported, strict=True):
            stored = dcmread(path)
            assert stored == original
            assert stored.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
            assert stored.file_meta.MediaStorageSOPClassUID == original.SOPClassUID
            assert stored.file_meta.MediaStorageSOPInstanceUID == original.SOPInstanceUID
            uids = original.StudyInstanceUID, original.SeriesInstanceUID, f"{original.SOPInstanceUID}.dcm"
            assert path == storage.joinpath(original.PatientID, *uids)


def test_several_associations_at_once_are_told_apart(tools: Tools, storage: Path, tmp_path: Path) -> None:
    batches = [write_study(tmp_path / "s", patient_id=f"{number}", instances_per_series=8) for number in range(5)]
    with storing(tools, storage) as running:
        all_are_connected = threading.Barrier(len(batches))

        def send_batch(batch: WrittenStudy) -> list[int]:
            association = connect(running.port, batch.paths)
            all_are_connected.wait(SECONDS)
            sent = [int(association.send_c_store(path).Status) for path in batch.paths]
            association.release()
            return sent

        with ThreadPoolExecutor(len(batches)) as threads:
            assert list(threads.map(send_batch, batches)) == [[0] * 8] * 5
        assert sorted(running.reported) == sorted(running.files)
        stored = {str(dcmread(path).SOPInstanceUID) for path in running.files}
    assert stored == {uid for batch in batches for uid in batch.sop_instance_uids}


def test_an_instance_that_comes_again_replaces_the_first(tools: Tools, storage: Path, tmp_path: Path) -> None:
    first = image(tmp_path / "same.dcm", ExplicitVRLittleEndian, StudyDescription="first")
    with storing(tools, storage) as running:
        send(running.port, first)
        again = image(tmp_path / "same.dcm", ExplicitVRLittleEndian, StudyDescription="second, and longer")
        send(running.port, again)
        [path] = running.files
        assert running.reported == [path, path]
        assert dcmread(path) == dcmread(again)


def test_an_instance_that_breaks_off_leaves_nothing(tools: Tools, storage: Path, tmp_path: Path) -> None:
    study = write_study(tmp_path / "studies", size=512, instances_per_series=2)
    with storing(tools, storage) as running:
        association = connect(running.port, study.paths)
        context_id = association.accepted_contexts[0].context_id
        assert context_id is not None
        half_of_it = store_messages(study.paths[0], context_id)[:10]
        for message in half_of_it:
            association.dul.send_pdu(message)
        wait_until(lambda: any("M-WRITE" in line for line in running.lines))
        association.abort()
        wait_until(lambda: any("M-DELETE" in line for line in running.lines))
        assert running.files == set()
        assert running.reported == []
        assert send(running.port, study.paths[1]) == [0], "the next association is served"
        assert len(running.files) == 1


def store_messages(path: Path, context_id: int) -> list[P_DATA]:
    """A C-STORE-RQ in pieces."""
    dataset = dcmread(path)
    content = encode(dataset, False, True)
    assert content is not None
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    request.DataSet = BytesIO(content)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    return list(message.encode_msg(context_id, 16384))


def test_an_instance_that_cannot_be_put_in_its_place_is_not_reported_as_stored(
    tools: Tools, storage: Path, studies: Studies
) -> None:
    path = studies[0].paths[0]
    with storing(tools, storage, file_path="{00080018}") as running:
        in_the_way = storage / str(dcmread(path).SOPInstanceUID) / "occupied"
        in_the_way.mkdir(parents=True)
        [status] = send(running.port, path)
        assert status != 0
        assert running.files == set()
        assert running.reported == []
        assert send(running.port, studies[0].paths[1]) == [0]


def test_what_is_no_dicom_does_not_disturb_storescp(tools: Tools, storage: Path, studies: Studies) -> None:
    with storing(tools, storage) as running:
        for noise in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x01\0\xff\xff\xff\xff", os.urandom(64)):
            with socket.create_connection(("127.0.0.1", running.port)) as connection:
                connection.sendall(noise)
        assert send(running.port, studies[0].paths[0]) == [0]
        assert len(running.reported) == len(running.files) == 1


def test_every_sop_class_is_accepted_and_echoes_are_answered(tools: Tools, storage: Path, tmp_path: Path) -> None:
    private = image(tmp_path / "private.dcm", ExplicitVRLittleEndian, SOPClassUID="1.3.6.1.4.1.5962.301.9")
    with storing(tools, storage) as running:
        assert send(running.port, private) == [0]
        association = connect(running.port, [])
        assert association.send_c_echo().Status == 0
        association.release()


PATTERNS = {
    "{00100020}": "a b",
    "x{0020000D}-{00100020}": "x1.2.3-a b",
    "{00100010,urlencoded}": "M%C3%BCller%5EJ%2F%7E*_.-%25%26+x",
    "{00081030,hash}": "05E918D2",
    "{00081030,md5}": "0gtki5hna1g2408i5u50h8mjh3",
    "{00080008[0]}": "ORIGINAL",
    "{00080008[1]}": "PRIMARY",
    "{00102160,urlencoded}": "null",
    "{00102160,hash}": "null",
    "{00102160,md5}": "null",
}


def test_the_pattern_names_folders_and_file(tools: Tools, storage: Path, tmp_path: Path) -> None:
    sent = image(
        tmp_path / "sent.dcm", ExplicitVRLittleEndian, StudyInstanceUID="1.2.3", StudyDescription="hello",
        PatientID="a b", PatientName="Müller^J/~*_.-%& x",
    )  # fmt: skip
    with storing(tools, storage, file_path="/".join([*PATTERNS, "{00080018}.dcm"])) as running:
        assert send(running.port, sent) == [0]
        [path] = running.files
        assert dict(zip(PATTERNS, path.relative_to(storage).parts, strict=False)) == PATTERNS
        assert path.name == f"{dcmread(sent).SOPInstanceUID}.dcm"
        assert running.reported == [path]


def test_a_pattern_may_ask_for_capitals(tools: Tools, storage: Path, tmp_path: Path) -> None:
    if "5.22" in tools.version:
        pytest.skip("upper came after 5.22.5")
    sent = image(tmp_path / "sent.dcm", ExplicitVRLittleEndian, StudyDescription="straße")
    with storing(tools, storage, file_path="{00081030,upper}/{00080018}.dcm") as running:
        assert send(running.port, sent) == [0]
        assert names(storage) == ["STRASSE"]


def test_a_pattern_that_is_none_ends_storescp_with_exit_code_2(tools: Tools, storage: Path) -> None:
    finished = tools.run("storescp", "-b", f"X:{free_port()}", "--directory", storage, "--filepath", "{nothing}")
    assert finished.exit_code == 2
    assert finished.trouble


def test_other_callers_than_the_accepted_ones_are_rejected(tools: Tools, storage: Path, studies: Studies) -> None:
    if "5.22" in tools.version:
        pytest.skip("--accept came after 5.22.5")
    paths = studies[0].paths
    with storing(tools, storage, "--accept", "PACS", "--accept", "OTHER PACS") as running:
        assert connect(running.port, paths, calling="STRANGER").is_rejected
        assert running.files == set()
        assert send(running.port, paths[0], calling="OTHER PACS") == [0]
        assert send(running.port, paths[1], calling="PACS") == [0]


def test_an_association_for_another_ae_is_rejected(tools: Tools, storage: Path, studies: Studies) -> None:
    with storing(tools, storage) as running:
        assert connect(running.port, studies[0].paths, called="SOMEBODY").is_rejected


def test_a_port_in_use_ends_with_exit_code_2(tools: Tools, storage: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        finished = tools.run("storescp", "--directory", storage, "-b", f"{AE_TITLE}:{port}")
    assert finished.exit_code == 2
    assert f"Unable to start TCPListener on null:{port}" in finished.trouble


def test_sigterm_ends_storescp_at_once(tools: Tools, storage: Path, studies: Studies) -> None:
    with storing(tools, storage) as running:
        association = connect(running.port, studies[0].paths)
        os.killpg(running.process.pid, signal.SIGTERM)
        running.process.wait(5)
        association.abort()
        assert socket.socket().connect_ex(("127.0.0.1", running.port)) != 0


def test_a_pattern_of_digests_stays_in_the_folder_whatever_is_received(
    tools: Tools, storage: Path, tmp_path: Path
) -> None:
    with storing(tools, storage, file_path="{00100020,hash}/{0020000D,md5}/{00080018,md5}.dcm") as running:
        send_hostile_instances(running, tmp_path)
        assert_nothing_is_outside(storage)


@pytest.mark.parametrize(
    "pattern",
    [
        FILE_PATH, "{00100020,urlencoded}/{00080018}.dcm", "{00100020}.dcm", "{00081030}/{0008103E}/{00080018}",
        "{0020000D}/{0020000E}/{00200010}/{00080018}",
    ],
)  # fmt: skip
def test_the_embedded_storescp_never_writes_outside_its_folder(
    tools: Tools, storage: Path, tmp_path: Path, pattern: str
) -> None:
    if not tools.is_embedded:
        pytest.skip("DCM4CHE writes where the values of a PACS lead it")
    with storing(tools, storage, file_path=pattern) as running:
        send_hostile_instances(running, tmp_path)
        assert len(running.files) > 1
        assert_nothing_is_outside(storage)
        assert running.files == set(running.reported)


def send_hostile_instances(running: Storing, tmp_path: Path) -> None:
    """Send instances whose PatientID or other attributes would lead out of the folder."""
    paths = [path for study in write_hostile_studies(tmp_path / "hostile").values() for path in study.paths]
    for number, value in enumerate(("../..", "..", "/tmp/niffler-hostile/y", ".", "a/../../..", "~")):
        everywhere = dict.fromkeys(("StudyInstanceUID", "SeriesInstanceUID", "StudyID"), value)
        described = dict.fromkeys(("StudyDescription", "SeriesDescription"), value)
        path = tmp_path / f"hostile-{number}.dcm"
        paths.append(image(path, ExplicitVRLittleEndian, **everywhere, **described))
    send(running.port, *paths)


def assert_nothing_is_outside(storage: Path) -> None:
    assert names(storage.parent) == ["storage", "storescp.out"]
    assert not Path("/tmp/niffler-hostile").exists()
    assert all(path.resolve().is_relative_to(storage) for path in storage.rglob("*"))
