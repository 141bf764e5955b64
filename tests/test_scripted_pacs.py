"""Each fault of the scripted PACS, as a client sees it."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import evt

from demo.studies import WrittenStudy, generate_studies
from tests.pacs import faults
from tests.pacs.client import Receiver, Response, associate, find, identifier, move
from tests.pacs.fault import Fault
from tests.pacs.hostile import HOSTILE_PATIENT_IDS, write_hostile_studies
from tests.pacs.scripted import ScriptedPacs

ROOT = Path(__file__).resolve().parent.parent
COMMENT = "completed=99, status=0H"
Start = Callable[..., ScriptedPacs]


@pytest.fixture
def studies(tmp_path: Path) -> tuple[WrittenStudy, ...]:
    return generate_studies(tmp_path / "studies", 4, instances=3, size=16, studies_per_patient=2)


@pytest.fixture
def uid(studies: tuple[WrittenStudy, ...]) -> str:
    return studies[0].study_instance_uid


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def start(tmp_path: Path, studies: tuple[WrittenStudy, ...], receiver: Receiver) -> Iterator[Start]:
    """Starts a PACS with faults; afterwards, no thread of it may be left."""
    before = set(threading.enumerate())
    started: list[ScriptedPacs] = []

    def with_faults(*script: Fault) -> ScriptedPacs:
        pacs = ScriptedPacs(tmp_path / "studies", *script)
        pacs.add_destination(receiver.ae_title, "127.0.0.1", receiver.port)
        pacs.start()
        started.append(pacs)
        return pacs

    yield with_faults
    for pacs in started:
        pacs.stop()
    end = time.monotonic() + 5
    while (left := set(threading.enumerate()) - before) and time.monotonic() < end:
        time.sleep(0.02)  # those of the client end a little later
    assert not left


def values(responses: list[Response], keyword: str) -> list[str | None]:
    found = [one.identifier.get(keyword) for one in responses if one.identifier is not None]
    return [None if value is None else str(value) for value in found]


def moved(pacs: ScriptedPacs, uid: str) -> Response:
    """The final response to a C-MOVE over an association of its own."""
    association = associate(pacs)
    final = move(association, "RECEIVER", StudyInstanceUID=uid)[-1]
    association.release()
    return final


def found(pacs: ScriptedPacs, **keys: str | list[str] | None) -> list[Response]:
    """The responses to a C-FIND over an association of its own."""
    association = associate(pacs)
    responses = find(association, "STUDY", patient_root=False, **keys)
    association.release()
    return responses


# What is recorded


def test_requests_are_recorded(start: Start, uid: str) -> None:
    pacs = start()
    association = associate(pacs, calling="ASKER")
    association.send_c_echo()
    find(association, PatientID="00000001", StudyDate=None)
    move(association, "RECEIVER", StudyInstanceUID=uid)
    association.release()
    moved(pacs, uid)
    second = [("association", 2, 0), ("move", 2, 1)]
    kinds = [(request.kind, request.association, request.position) for request in pacs.requests()]
    assert kinds == [("association", 1, 0), ("echo", 1, 1), ("find", 1, 2), ("move", 1, 3), *second]
    asked = pacs.requests("find")[0]
    assert (asked.calling_ae_title, asked.called_ae_title, asked.level) == ("ASKER", "FAULTY", "STUDY")
    assert asked.keys == {"PatientID": ("00000001",), "StudyDate": ()}
    assert pacs.requests("move")[0].destination == "RECEIVER"
    assert pacs.moved() == [uid, uid]
    assert len(pacs.sent()) == 6


def test_waiting_for_something_to_happen(start: Start, uid: str) -> None:
    pacs = start(faults.slow("move", seconds=0.1))
    asking = threading.Thread(target=moved, args=(pacs, uid))
    asking.start()
    pacs.wait_until(lambda pacs: len(pacs.sent()) == 1)
    assert len(pacs.sent()) == 1
    asking.join()
    with pytest.raises(TimeoutError):
        pacs.wait_until(lambda pacs: len(pacs.sent()) > 3, seconds=0.1)


# When a fault strikes


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (lambda fault, uid: fault, "xxxxxx"),
        (lambda fault, uid: fault.nth(2, 3), ".xx..."),
        (lambda fault, uid: fault.first(2), "xx...."),
        (lambda fault, uid: fault.after(4), "....xx"),
        (lambda fault, uid: fault.every(3), "..x..x"),
        (lambda fault, uid: fault.study(uid), "x.x.x."),
        (lambda fault, uid: fault.study(uid).first(2), "x.x..."),
        (lambda fault, uid: fault.first(1).of_each_study(), "xx...."),
        (lambda fault, uid: fault.when(lambda request: request.position > 4), "....xx"),
        (lambda fault, uid: fault.key("StudyInstanceUID", uid).after(1), "..x.x."),
    ],
)
def test_limits(
    start: Start, studies: tuple[WrittenStudy, ...], limit: Callable[[Fault, str], Fault], expected: str
) -> None:
    uid = studies[0].study_instance_uid
    association = associate(start(limit(faults.answer_move(0xC000), uid)))
    statuses = [
        move(association, "RECEIVER", StudyInstanceUID=study.study_instance_uid)[-1].status for study in studies[:2] * 3
    ]
    association.release()
    assert "".join("x" if status == 0xC000 else "." for status in statuses) == expected


def test_random_share_is_the_same_for_the_same_seed() -> None:
    turns = [[faults.abort("find").at_random(0.1, seed).turn(number) for number in range(1000)] for seed in (1, 1, 2)]
    assert turns[0] == turns[1] != turns[2]
    assert 50 < sum(turns[0]) < 150


def test_script_may_change(start: Start, uid: str) -> None:
    pacs = start(faults.answer_move(0xC000))
    assert moved(pacs, uid).status == 0xC000
    pacs.script()
    assert moved(pacs, uid).status == 0


# Associations and connections


@pytest.mark.parametrize(
    ("reason", "result", "diagnostic"),
    [
        ("permanent", 1, 1),
        ("transient", 2, 1),
        ("calling AE unknown", 1, 3),
        ("called AE unknown", 1, 7),
        ("congestion", 2, 1),
    ],
)
def test_reject(start: Start, reason: str, result: int, diagnostic: int) -> None:
    pacs = start(faults.reject(reason).first(1))
    rejected = associate(pacs)
    assert rejected.is_rejected
    answer = rejected.acceptor.primitive
    assert answer is not None
    assert (answer.result, answer.diagnostic) == (result, diagnostic)
    assert found(pacs, PatientID="00000001")[-1].status == 0


def test_reject_unknown_ae_titles(start: Start) -> None:
    pacs = start(faults.reject_callers_except("KNOWN"), faults.reject_other_called("FAULTY"))
    assert associate(pacs).is_rejected
    assert associate(pacs, calling="KNOWN", called="OTHER").is_rejected
    known = associate(pacs, calling="KNOWN")
    assert known.is_established
    known.release()


@pytest.mark.parametrize("fault", [faults.abort, faults.drop])
def test_association_ends_at_once(start: Start, fault: Callable[..., Fault]) -> None:
    pacs = start(fault("association").every(2))
    outcomes = []
    for _ in range(4):
        association = associate(pacs)
        outcomes.append(association.is_established)
        association.release()
    assert outcomes == [True, False, True, False]


def test_refuse_model(start: Start, uid: str) -> None:
    pacs = start(faults.refuse_model("PatientRoot"))
    association = associate(pacs)
    assert find(association, PatientID="00000001")[-1].status == 0
    with pytest.raises(ValueError, match="presentation context"):
        find(association, patient_root=True, PatientID="00000001")
    association.release()


def test_abort_after_requests(start: Start) -> None:
    association = associate(start(faults.abort_after_requests(2)))
    assert [find(association, PatientID="00000001")[-1].status for _ in range(3)] == [0, 0, None]
    association.join(2)
    assert association.is_aborted


@pytest.mark.parametrize("fault", [faults.abort, faults.drop])
def test_association_ends_in_the_middle_of_a_move(
    start: Start, uid: str, receiver: Receiver, fault: Callable[..., Fault]
) -> None:
    association = associate(start(fault("move", after=2)))
    responses = move(association, "RECEIVER", StudyInstanceUID=uid)
    assert [one.status for one in responses] == [0xFF00, 0xFF00, None]
    assert len(receiver.received) == 2


def test_hang_until_the_client_gives_up(start: Start, uid: str) -> None:
    association = associate(start(faults.hang("move", after=1)))
    association.dimse_timeout = 0.3
    assert [one.status for one in move(association, "RECEIVER", StudyInstanceUID=uid)] == [0xFF00, None]


@pytest.mark.parametrize("kind", ["association", "echo", "find"])
def test_hang_ends_with_the_pacs(start: Start, kind: str) -> None:
    pacs = start(faults.hang(kind))  # type: ignore[arg-type]

    def ask() -> None:
        association = associate(pacs)
        if association.is_established:
            association.send_c_echo() if kind == "echo" else find(association, PatientID="00000001")

    asking = threading.Thread(target=ask)
    asking.start()
    pacs.wait_until(lambda pacs: bool(pacs.requests(kind)))  # type: ignore[arg-type]
    pacs.stop()
    asking.join(2)
    assert not asking.is_alive()


def test_go_away_and_come_back(start: Start, uid: str) -> None:
    pacs = start(faults.go_away("move", seconds=0.4, after=1).first(1))
    port = pacs.port
    assert moved(pacs, uid).status is None
    assert not associate(pacs).is_established
    time.sleep(0.6)
    assert moved(pacs, uid).status == 0
    assert pacs.port == port


def test_delays(start: Start, uid: str) -> None:
    pacs = start(faults.slow("move", seconds=0.1), faults.pause("find", seconds=0.3))
    begin = time.monotonic()
    moved(pacs, uid)
    between = time.monotonic()
    found(pacs, PatientID="00000001")
    assert 0.4 <= between - begin < 1.5
    assert 0.3 <= time.monotonic() - between < 1.2


def test_call_at_a_moment(start: Start, uid: str) -> None:
    sent: list[int] = []
    pacs = start()
    pacs.script(faults.call(lambda: sent.append(len(pacs.sent())), "move", after=2))
    moved(pacs, uid)
    assert sent == [2]


# C-FIND


def test_find_status_with_comment(start: Start) -> None:
    final = found(start(faults.answer_find(0xC000, COMMENT)), PatientID="00000001")
    assert [one.status for one in final] == [0xC000]
    assert final[0].command.ErrorComment == COMMENT


@pytest.mark.parametrize("status", [0xA700, 0])
def test_cut_off(start: Start, status: int) -> None:
    pacs = start(faults.cut_off(3, status))
    assert [one.status for one in found(pacs, StudyDate=None)] == [0xFF00] * 3 + [status]
    assert [one.status for one in found(pacs, PatientID="00000001")] == [0xFF00] * 2 + [0]


def test_ignore_key(start: Start) -> None:
    pacs = start(faults.ignore_key("AccessionNumber"))
    assert len(found(pacs, AccessionNumber="G0000001")) == 5
    assert len(found(pacs, AccessionNumber="G0000001", PatientID="00000002")) == 3
    pacs.script(faults.ignore_key())
    assert len(found(pacs, AccessionNumber="G0000001", PatientID="00000002")) == 5


def test_repeat_and_lose_matches(start: Start, uid: str) -> None:
    pacs = start(faults.repeat_matches(3).study(uid))
    assert len(found(pacs, PatientID="00000001", StudyInstanceUID=None)) == 3 + 1 + 1
    pacs.script(faults.lose_matches().study(uid))
    assert len(found(pacs, PatientID="00000001", StudyInstanceUID=None)) == 1 + 1
    pacs.script(faults.lose_matches(1))
    assert len(found(pacs, PatientID="00000001", StudyInstanceUID=None)) == 1 + 1


def test_changed_answers(start: Start, uid: str) -> None:
    pacs = start(faults.omit("AccessionNumber"), faults.announce(99).study(uid))
    responses = found(pacs, PatientID="00000001", StudyInstanceUID=None, AccessionNumber=None)
    assert values(responses, "AccessionNumber") == [None, None]
    asked = {"PatientID": "00000001", "StudyInstanceUID": None, "NumberOfStudyRelatedInstances": None}
    assert values(found(pacs, **asked), "NumberOfStudyRelatedInstances") == ["99", "3"]
    pacs.script(faults.announce_more(-1), faults.answer_with("PatientID", "OTHER").study(uid))
    responses = found(pacs, **asked)
    assert values(responses, "NumberOfStudyRelatedInstances") == ["2", "2"]
    assert values(responses, "PatientID") == ["OTHER", "00000001"]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("NumberOfStudyRelatedInstances", "many"), ("StudyInstanceUID", "../../x"), ("StudyDate", "yesterday")],
)
def test_answers_that_are_no_valid_values(start: Start, keyword: str, value: str) -> None:
    association = associate(start(faults.answer_with(keyword, value)))
    raw: list[bytes] = []
    association.bind(evt.EVT_DIMSE_RECV, lambda event: raw.append(event.message.data_set.getvalue()))
    keys: dict[str, Any] = {"PatientID": "00000001", keyword: None}
    find(association, **keys)
    association.release()
    assert value.encode() in raw[0]


def test_trailing_blanks(start: Start) -> None:
    pacs = start(faults.pad("PatientID"))
    association = associate(pacs)
    raw: list[bytes] = []
    association.bind(evt.EVT_DIMSE_RECV, lambda event: raw.append(event.message.data_set.getvalue()))
    find(association, PatientID="00000001")
    association.release()
    assert [b"00000001    " in data_set for data_set in raw] == [True, True, False]


def test_cancel_ends_a_find(start: Start) -> None:
    association = associate(start(faults.slow("find", seconds=0.1)))
    statuses: list[int] = []
    model = "1.2.840.10008.5.1.4.1.2.2.1"
    for command, _ in association.send_c_find(identifier("STUDY", {"PatientID": None}), query_model=model, msg_id=7):
        if not statuses:
            association.send_c_cancel(7, query_model=model)
        statuses.append(int(command.Status))
    association.release()
    assert statuses == [0xFF00, 0xFE00]


def test_uid_lists(start: Start, studies: tuple[WrittenStudy, ...]) -> None:
    uids = [study.study_instance_uid for study in studies]
    pacs = start(faults.refuse_uid_lists())
    assert [one.status for one in found(pacs, StudyInstanceUID=uids)] == [0xA900]
    assert len(found(pacs, StudyInstanceUID=uids[:1])) == 2
    pacs.script(faults.lose_from_uid_lists(1))
    assert values(found(pacs, StudyInstanceUID=uids), "StudyInstanceUID") == uids[:-1]


# C-MOVE


@pytest.mark.parametrize("status", [0xA701, 0xA702, 0xA801, 0xA900, 0xB000, 0xC000, 0xC511, 0xFE00, 0x0122, 0])
def test_move_status(start: Start, uid: str, status: int, receiver: Receiver) -> None:
    final = moved(start(faults.answer_move(status, COMMENT)), uid)
    assert (final.status, final.counts) == (status, (None, None, None, None))
    assert final.command.ErrorComment == COMMENT
    assert not receiver.received


def test_move_status_with_counts(start: Start, uid: str, receiver: Receiver) -> None:
    final = moved(start(faults.answer_move(0xB000, after=1, with_counts=True)), uid)
    assert (final.status, final.counts) == (0xB000, (None, 1, 2, 0))
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("fault", "status", "completed", "failed", "sent"),
    [
        (faults.fail_instances(1), 0xB000, 2, 1, 2),
        (faults.fail_instances(), 0xA702, 0, 3, 0),
        (faults.withhold(1), 0, 3, 0, 2),
        (faults.send_nothing(), 0, 0, 0, 0),
        (faults.send_twice(), 0, 3, 0, 6),
        (faults.send_twice(is_counted=True), 0, 6, 0, 6),
        (faults.repeat_one_for_another(), 0, 3, 0, 3),
        (faults.report_counts(lambda counts: replace(counts, completed=99)), 0, 99, 0, 3),
        (faults.no_counts(), 0, None, None, 3),
        (faults.no_pending_responses(), 0, 3, 0, 3),
        (faults.comment_move(COMMENT), 0, 3, 0, 3),
    ],
)
def test_sent_and_counted(
    start: Start,
    uid: str,
    receiver: Receiver,
    fault: Fault,
    status: int,
    completed: int | None,
    failed: int | None,
    sent: int,
) -> None:
    pacs = start(fault)
    final = moved(pacs, uid)
    assert (final.status, final.counts[1:3]) == (status, (completed, failed))
    assert len(receiver.received) == sent
    assert receiver.sop_instance_uids() == pacs.sent()


@pytest.mark.parametrize("instead", [False, True])
def test_send_other_patients_instance(
    start: Start, studies: tuple[WrittenStudy, ...], receiver: Receiver, instead: bool
) -> None:
    other = studies[3]
    final = moved(start(faults.send_other(other.study_instance_uid, instead=instead)), studies[0].study_instance_uid)
    assert (final.status, final.counts) == (0, (None, 3, 0, 0))
    assert len(receiver.received) == (3 if instead else 4)
    assert receiver.received[-1].PatientID == other.patient_id == "00000002"


@pytest.mark.parametrize(("script", "sent"), [([], 1), ([faults.keep_sending()], 3)])
def test_client_that_goes_away(start: Start, uid: str, script: list[Fault], sent: int) -> None:
    pacs = start(*script, faults.slow("move", seconds=0.1))
    association = associate(pacs)
    for _ in association.send_c_move(
        identifier("STUDY", {"StudyInstanceUID": uid}), "RECEIVER", query_model="1.2.840.10008.5.1.4.1.2.2.2"
    ):
        association.abort()
        break
    with contextlib.suppress(TimeoutError):
        pacs.wait_until(lambda pacs: len(pacs.sent()) > sent, seconds=0.5)
    assert len(pacs.sent()) == sent


def test_absent_counts_in_pending_responses(start: Start, uid: str) -> None:
    association = associate(start(faults.no_counts()))
    responses = move(association, "RECEIVER", StudyInstanceUID=uid)
    association.release()
    assert [one.status for one in responses] == [0xFF00] * 3 + [0]
    assert {one.counts for one in responses} == {(None, None, None, None)}


def test_destination_with_an_unknown_host_name(start: Start, uid: str) -> None:
    pacs = start()
    pacs.add_destination("RECEIVER", "host.invalid", 4243)
    assert moved(pacs, uid).status == 0xA702


def test_growing_study(start: Start, uid: str) -> None:
    pacs = start(faults.grow(2).first(1))
    keys = {"StudyInstanceUID": uid, "NumberOfStudyRelatedInstances": None}
    assert moved(pacs, uid).counts[1] == 3
    assert values(found(pacs, **keys), "NumberOfStudyRelatedInstances") == ["5"]
    assert moved(pacs, uid).counts[1] == 5
    assert len(set(pacs.sent())) == 5


def test_hostile_patient_ids_arrive_as_they_are(tmp_path: Path, receiver: Receiver) -> None:
    hostile = write_hostile_studies(tmp_path)
    with ScriptedPacs(tmp_path, destinations={"RECEIVER": ("127.0.0.1", receiver.port)}) as pacs:
        for study in hostile.values():
            assert moved(pacs, study.study_instance_uid).counts[1] == 1
        assert len(found(pacs, AccessionNumber="HOSTILE*", PatientID=None)) == len(HOSTILE_PATIENT_IDS) + 1
    assert {"../../x", "..", "x" * 300} <= {str(dataset.PatientID) for dataset in receiver.received}


# As a process, and with tools of others


def test_script_as_a_process(tmp_path: Path, studies: tuple[WrittenStudy, ...], uid: str, receiver: Receiver) -> None:
    script = tmp_path / "script.json"
    script.write_text(
        json.dumps(
            {
                "folder": str(tmp_path / "studies"),
                "destinations": {"RECEIVER": ["127.0.0.1", receiver.port]},
                "faults": [{"fault": "answer_move", "arguments": [0xA702, COMMENT], "study": uid, "first": 1}],
            }
        )
    )
    command = [sys.executable, "-m", "tests.pacs.scripted", str(script)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().removeprefix("listening on "))
        elsewhere = ScriptedPacs(tmp_path / "none", port=port)  # never started: only says where to connect to
        assert moved(elsewhere, uid).status == 0xA702
        assert moved(elsewhere, uid).status == 0
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.skipif(not shutil.which("findscu"), reason="needs DCMTK: apt install dcmtk")
def test_findscu_of_dcmtk_is_refused_and_answered(start: Start) -> None:
    pacs = start(faults.reject("transient").first(1))
    command = ["findscu", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=00000001", "-aec", "FAULTY"]
    for expected in (False, True):
        done = subprocess.run([*command, pacs.host, str(pacs.port)], capture_output=True, timeout=20, check=False)
        assert (b"(0010,0020)" in done.stdout + done.stderr) is expected
    assert [request.called_ae_title for request in pacs.requests("association")] == ["FAULTY"] * 2
