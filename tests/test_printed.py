"""What the DCM4CHE tools print, read from recordings of two versions and from lines that no tool should print."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from niffler.printed import (
    StoredFiles,
    accepts_association,
    is_listening,
    loss_in,
    releases_association,
    request_in,
    response_in,
    says_disk_full,
    trouble_in,
)
from niffler.vocabulary import Response

TRANSCRIPTS = Path(__file__).with_name("transcripts")
VERSIONS = ("5.22.5", "5.34.3")
REJECTED = (
    "A-ASSOCIATE-RJ[result: 1 - rejected-permanent, source: 1 - service-user, "
    "reason: 7 - called-AE-title-not-recognized]"
)
ABORTED = "A-ABORT[source: 0 - service-user, reason: 0]"
TIMED_OUT = "1:DIMSE-RSP timeout expired"


def lines_of(version: str, name: str) -> list[str]:
    return (TRANSCRIPTS / version / f"{name}.log").read_text(encoding="utf-8").splitlines()


def responses_of(version: str, name: str) -> list[Response]:
    return [response for line in lines_of(version, name) if (response := response_in(line)) is not None]


def troubles_of(version: str, name: str) -> list[str]:
    return [trouble for line in lines_of(version, name) if (trouble := trouble_in(line))]


def moving(message_id: int, images: int) -> list[Response]:
    """The pending responses of a C-MOVE of three images, one after each image."""
    return [Response(message_id, 0xFF00, 3 - done, done, 0, 0) for done in range(1, images + 1)]


def moved(message_id: int) -> list[Response]:
    return [*moving(message_id, 3), Response(message_id, 0, 0, 3, 0, 0)]


RESPONSES = {
    "find-one-match": [Response(1, 0xFF00), Response(1, 0)],
    "find-two-matches": [Response(1, 0xFF00), Response(1, 0xFF00), Response(1, 0)],
    "find-no-match": [Response(1, 0)],
    "find-status-a700": [Response(1, 0xA700)],
    "find-status-c000": [Response(1, 0xC000)],
    "find-aborted-by-pacs": [],
    "find-association-rejected": [],
    "find-connection-refused": [],
    "find-response-timeout": [],
    "move-success-info-level": moved(1),
    "move-slow-success": moved(1),
    "move-two-studies-second-empty": [*moved(1), Response(2, 0, None, 0, 0, 0)],
    "move-partial-b000": [
        *moving(1, 2),
        Response(1, 0xFF00, 0, 2, 1, 0),
        Response(1, 0xB000, 0, 2, 1, 0),
    ],
    "move-status-a702": [Response(1, 0xA702, None, 0, 3, 0)],
    "move-status-c000": [Response(1, 0xC000, None, 0, 3, 0)],
    "move-unknown-destination-a801": [Response(1, 0xA801)],
    "move-three-studies-second-aborts-association": [*moved(1), *moving(2, 1)],
    "move-retrieve-timeout": moving(1, 1),
}
FIRST_TROUBLE = {
    "find-aborted-by-pacs": ABORTED,
    "find-association-rejected": REJECTED,
    "find-connection-refused": "Connection refused",
    "find-response-timeout": TIMED_OUT,
    "move-three-studies-second-aborts-association": ABORTED,
    "move-retrieve-timeout": TIMED_OUT,
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RESPONSES)
def test_every_response_of_a_recording_is_read_with_its_counts(version: str, name: str) -> None:
    assert responses_of(version, name) == RESPONSES[name]


def test_five_query_files_are_answered_by_message_ids_one_to_five() -> None:
    responses = responses_of("5.34.3", "find-five-query-files-info-level")
    assert [response.message_id for response in responses if not response.is_pending] == [1, 2, 3, 4, 5]
    assert [response.message_id for response in responses if response.is_pending] == [1, 2, 3, 4, 5]
    assert {response.status for response in responses} == {0, 0xFF00}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RESPONSES)
def test_the_first_trouble_of_a_recording_is_why_it_broke(version: str, name: str) -> None:
    troubles = troubles_of(version, name)
    assert troubles[:1] == ([FIRST_TROUBLE[name]] if name in FIRST_TROUBLE else [])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "requests"),
    [
        ("find-no-match", [1]),
        ("find-aborted-by-pacs", [1]),
        ("move-two-studies-second-empty", [1, 2]),
        # The third is announced although the association is gone.
        ("move-three-studies-second-aborts-association", [1, 2, 3]),
        ("find-association-rejected", []),
        ("find-connection-refused", []),
    ],
)
def test_the_requests_that_were_sent_are_known_by_their_message_ids(
    version: str, name: str, requests: list[int]
) -> None:
    assert [number for line in lines_of(version, name) if (number := request_in(line)) is not None] == requests


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RESPONSES)
def test_an_accepted_association_is_told_from_one_that_was_never_made(version: str, name: str) -> None:
    accepted = [line for line in lines_of(version, name) if accepts_association(line)]
    assert len(accepted) == (0 if name in ("find-association-rejected", "find-connection-refused") else 1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RESPONSES)
def test_an_association_that_ends_in_good_order_is_told_from_one_that_breaks(version: str, name: str) -> None:
    released = [line for line in lines_of(version, name) if releases_association(line)]
    assert len(released) == (0 if name in FIRST_TROUBLE else 1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["storescp-session", "storescp-session-info-level"])
def test_storescp_listens_from_its_first_line_on(version: str, name: str) -> None:
    first, *others = lines_of(version, name)
    assert is_listening(first)
    assert not any(map(is_listening, others))


@pytest.mark.parametrize("version", VERSIONS)
def test_storescp_on_a_taken_port_does_not_listen_and_says_why(version: str) -> None:
    lines = lines_of(version, "storescp-port-in-use")
    assert not any(map(is_listening, lines))
    assert trouble_in(lines[0]) == "Unable to start TCPListener on null:4243"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("storescp-session-info-level", ["1.0", "1.1", "1.2"]),
        (
            "storescp-session",
            ["1.0", "1.1", "1.2", "2.0", "2.1", "8.0", "8.1", "8.2", "1.0", "1.1", "1.2", "9.0", "8.0"],
        ),
    ],
)
def test_every_stored_file_of_a_session_is_told_once_in_its_order(version: str, name: str, images: list[str]) -> None:
    stored = StoredFiles()
    paths = [path for line in lines_of(version, name) if (path := stored.path_in(line)) is not None]
    assert [path.rpartition("/")[2] for path in paths] == [f"1.2.3.{image.replace('.', '.9.')}.dcm" for image in images]
    assert paths[0] == "store/P1/1.2.3.1/1.2.3.1.1/1.2.3.1.9.0.dcm"


def renamed(association: int, path: str) -> str:
    return f"07:40:55,881 INFO  - QBNIFFLER<-PACS({association}): M-RENAME store/1.2.part to {path}"


def answered(association: int, status: str) -> str:
    return f"07:40:55,882 INFO  - QBNIFFLER<-PACS({association}) << 2:C-STORE-RSP[pcid=1, status={status}H"


def test_a_renamed_file_counts_only_when_the_sender_was_told_of_success() -> None:
    stored = StoredFiles()
    assert stored.path_in(renamed(1, "store/a.dcm")) is None
    assert stored.path_in(answered(1, "110")) is None
    assert stored.path_in(answered(1, "0")) is None, "the failed one is forgotten"


def test_files_of_associations_that_store_side_by_side_are_not_mixed_up() -> None:
    stored = StoredFiles()
    for line in (renamed(1, "store/a.dcm"), renamed(2, "store/b.dcm")):
        assert stored.path_in(line) is None
    assert stored.path_in(answered(2, "0")) == "store/b.dcm"
    assert stored.path_in(answered(1, "0")) == "store/a.dcm"


@pytest.mark.parametrize("path", ["store/a b.dcm", "store/x.part to y.dcm", "/data/Müller/山田.dcm", "s/(1) << 1.dcm"])
def test_a_path_is_read_whole_whatever_characters_it_has(path: str) -> None:
    stored = StoredFiles()
    assert stored.path_in(renamed(1, path)) is None
    assert stored.path_in(answered(1, "0")) == path


@pytest.mark.parametrize(
    ("line", "is_full"),
    [
        ("java.io.IOException: No space left on device", True),
        ("Caused by: java.io.IOException: Disk quota exceeded", True),
        ("java.io.IOException: Permission denied", False),
    ],
)
def test_a_full_disk_is_told_from_other_failures(line: str, is_full: bool) -> None:
    assert says_disk_full(line) is is_full


def test_the_own_abort_after_a_timeout_is_not_the_reason() -> None:
    assert trouble_in(f"07:41:22.861 INFO  - QBNIFFLER->PACS(1) << {ABORTED}") == ""
    assert trouble_in(f"07:41:22.861 INFO  - QBNIFFLER->PACS(1) >> {ABORTED}") == ABORTED


def test_a_connection_that_was_closed_without_a_word_is_told_in_words() -> None:
    assert trouble_in("movescu: null") == "the connection was closed"
    for line in (": i/o exception: java.io.EOFException in State: Sta6", " >> A-RELEASE-RQ"):
        assert loss_in(f"09:00:00.000 INFO  - Q->P(1){line}") == "the connection was closed"
    assert loss_in("09:00:00.000 INFO  - Q->P(1) << A-RELEASE-RQ") == ""


def test_the_error_comment_of_a_response_is_kept_for_the_user() -> None:
    line = "09:00:00.000 INFO  - Q->P(1) >> 4:C-MOVE-RSP[pcid=1, status=c000H, errorID=7, errorComment=Out of order"
    assert response_in(line) == Response(4, 0xC000, comment="Out of order")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "  tsuid=1.2.840.10008.1.2 - Implicit VR Little Endian]",
        "07:41:11.769 DEBUG - QBNIFFLER->FAULTY(1) >> 1:C-MOVE-RSP Command:",
        "(0008,1030) LO [1:C-FIND-RSP[pcid=1, status=0H] StudyDescription",
        "07:41:11.769 INFO  - QBNIFFLER<-FAULTY(1) << 1:C-MOVE-RSP[pcid=1, status=0H",
        "07:41:11.769 INFO  - QBNIFFLER->FAULTY(1) >> 1:C-ECHO-RSP[pcid=1, status=0H",
        "07:41:11.769 INFO  - QBNIFFLER->FAULTY(1) >> 1:C-MOVE-RSP[pcid=1",
    ],
)
def test_a_line_that_is_no_response_is_not_taken_for_one(line: str) -> None:
    assert response_in(line) is None


ANY_LINE = st.text(max_size=300)
# Pieces of real lines in any order are nearer to what could confuse the reader than text at random.
PIECES = st.sampled_from(
    ["09:00:00 INFO  - Q->P(1)", " >> ", " << ", "1:C-MOVE-RSP[pcid=1", "2:C-FIND-RSP[pcid=3", ", status=", "ff00H",
     "0H", ", completed=3", ", failed=", "errorComment=", "A-ABORT[", "A-ASSOCIATE-RJ[", "]", "findscu: ",
     ": M-RENAME ", "x.part to y", "<< 2:C-STORE-RSP[pcid=1, status=0H", "\r", "\0", "\u2028", "٣"]
)  # fmt: skip
LINES_OF_PIECES = st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=12).map("".join)


@settings(deadline=None)
@given(st.one_of(ANY_LINE, LINES_OF_PIECES))
def test_no_line_raises_an_exception(line: str) -> None:
    response_in(line)
    request_in(line)
    accepts_association(line)
    releases_association(line)
    trouble_in(line)
    is_listening(line)
    says_disk_full(line)
    stored = StoredFiles()
    stored.path_in(line)
    stored.path_in(line)


# What follows the status is text of the PACS; a line break would end the line that is read here.
COMMENTS = st.one_of(st.text(max_size=80), LINES_OF_PIECES).map(lambda text: text.replace("\n", " "))


@settings(deadline=None)
@given(status=st.integers(0, 0xFFFF), completed=st.none() | st.integers(0, 99), comment=COMMENTS)
@example(status=0xC000, completed=None, comment="completed=99, failed=0, warning=0, status=0H")
@example(status=0xC000, completed=0, comment="x]  (1) >> 1:C-MOVE-RSP[pcid=1, completed=99, status=0H")
@example(status=0xA801, completed=None, comment="A-ABORT[source: 0]")
def test_an_error_comment_forges_neither_counts_nor_status_nor_another_response(
    status: int, completed: int | None, comment: str
) -> None:
    counts = "" if completed is None else f", completed={completed}"
    line = f"09:00:00.000 INFO  - Q->P(1) >> 7:C-MOVE-RSP[pcid=1{counts}, status={status:x}H, errorComment={comment}"
    response = response_in(line)
    assert response is not None
    assert (response.message_id, response.status, response.completed) == (7, status, completed)
    assert (response.remaining, response.failed, response.warning) == (None, None, None)
