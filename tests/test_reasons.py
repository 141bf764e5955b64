"""Why rows have no good answer: in words that name no patient, each with what to do."""

import pytest

from niffler.cell import cell_reader
from niffler.errors import CellError
from niffler.reasons import reason_of
from niffler.vocabulary import Outcome

SECRET = "Doe^John 4711"


@pytest.mark.parametrize(
    ("outcome", "detail", "text", "remedy"),
    [
        (Outcome.NOT_FOUND, "", "the PACS has no such study", "another archive"),
        (Outcome.FAILED, f"C-MOVE: status C000H, unable to process (the PACS says: {SECRET})",
         "C-MOVE: status C000H, unable to process", "its own log"),
        (Outcome.FAILED, "C-FIND: status A700H, out of resources", "C-FIND: status A700H, out of resources", "quieter"),
        (Outcome.PARTIAL, "C-MOVE: status B000H, some images failed, 2 of 30 failed",
         "C-MOVE: status B000H, some images failed", "again later"),
        (Outcome.PARTIAL, f"C-MOVE: status 0000H, success, 2 of 30 failed (the PACS says: {SECRET})",
         "some images failed, although the PACS calls it a success", "ask its team"),
        (Outcome.FAILED, "C-MOVE: status 0000H, success, but no image was sent",
         "the PACS says that all went well, but sent no image", "archive"),
        (Outcome.PARTIAL, "the PACS announced 40 instances and sent 38", "the PACS sent fewer images than it announced",
         "again later"),
        (Outcome.PARTIAL, "the PACS announced 4 instances, 3 are on disk",
         "fewer images arrived than the PACS announced", "again later"),
        (Outcome.PARTIAL, "the PACS announced 4 instances, 3 are on disk, 1 carry another PatientID",
         "images came with another PatientID", "unrequested"),
        (Outcome.PARTIAL, "2 of 3 studies are not complete; study 1.2.3: the PACS announced 4 instances and sent 3; "
         "study 1.2.4: C-MOVE: status C000H, unable to process", "the PACS sent fewer images than it announced", ""),
        (Outcome.FAILED, "received by another AE, counts as the PACS told them; C-MOVE: status A702H, out of resources",
         "C-MOVE: status A702H, out of resources, the PACS cannot send the images", "port of QueryAet"),
        (Outcome.FAILED, f"C-MOVE: A-ABORT[source: 0 - {SECRET}]", "the PACS broke off the association", "AE title"),
        (Outcome.FAILED, "C-FIND: A-ASSOCIATE-RJ[result: 1]", "the PACS refused the association", "AE title"),
        (Outcome.FAILED, "C-MOVE: movescu said nothing for 1800 s", "the PACS did not answer in time", "Timeout"),
        (Outcome.FAILED, f"C-MOVE: {SECRET}", "the association broke", "Detail"),
        (Outcome.REFUSED, f"3 matches, none as asked: PatientID was asked as '{SECRET}' and answered as 'x'",
         "the PACS answered with another PatientID", "correct the rows"),
        (Outcome.REFUSED, f"1 matches, none as asked: the PACS answered without Modality, asked as '{SECRET}'",
         "the PACS answers without Modality", "another"),
        (Outcome.REFUSED, "more than 1000 studies match; see MaxStudiesPerRow", "too many studies match",
         "MaxStudiesPerRow"),
        (Outcome.INVALID, "line 7: column 1 (AccessionNumber) is empty", "AccessionNumber is empty", "column 1"),
        (Outcome.INVALID, f"line 7: {SECRET}", "another reason", "Detail"),
        (Outcome.PENDING, "not come to yet", "not come to yet", "start the same command"),
    ],
)  # fmt: skip
def test_a_detail_has_a_reason_and_a_remedy(outcome: Outcome, detail: str, text: str, remedy: str) -> None:
    reason = reason_of(outcome, detail)
    assert reason is not None
    assert reason.text == text
    assert remedy in reason.remedy


@pytest.mark.parametrize("outcome", [Outcome.RETRIEVED, Outcome.FOUND])
def test_a_row_with_its_answer_has_none(outcome: Outcome) -> None:
    assert reason_of(outcome, "the PACS announced 3") is None


@pytest.mark.parametrize(
    ("keyword", "cell", "months"),
    [
        ("PatientID", "1.23E+11", False), ("PatientID", "a\tb", False), ("PatientID", "12*", False),
        ("PatientID", "***", False), ("StudyInstanceUID", "1.2*", False), ("PatientID", "9" * 65, False),
        ("AccessionNumber", "A" * 17, False), ("StudyInstanceUID", "1.2.x", False), ("StudyDate", "20201", False),
        ("StudyDate", "2020115", False), ("StudyDate", "13.1.", True), ("PatientName", "^^", False),
    ],
)  # fmt: skip
def test_whatever_is_wrong_with_a_cell_its_reason_is_known_and_keeps_the_cell_for_itself(
    keyword: str, cell: str, months: bool
) -> None:
    allows = (keyword == "StudyInstanceUID" and "*" in cell) or cell == "***"
    read = cell_reader(keyword, months=months, date_format="%Y%m%d", long_accession=False, allow_wildcards=allows)
    with pytest.raises(CellError) as fault:
        read(cell)
    for value in (cell, f"{cell}' is empty, {SECRET}"):
        reason = reason_of(Outcome.INVALID, f"line 3: {keyword} '{value}' {fault.value}")
        assert reason is not None
        assert reason.text != "another reason"
        assert reason.text.startswith(keyword)
        assert cell not in reason.text + reason.remedy or cell in ("***", "^^")
        assert SECRET not in reason.text + reason.remedy
