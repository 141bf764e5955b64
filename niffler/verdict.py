"""What a C-MOVE response and the files on disk say together about one study."""

from niffler.arrivals import Received
from niffler.status import in_words
from niffler.vocabulary import Outcome, Response, Study, StudyResult

_SOME_FAILED = 0xB000


def deliveries_told(response: Response) -> int:
    """How many instances the PACS says it sent (PS3.4 C.4.2.1.6: completed, and completed with a warning)."""
    return (response.completed or 0) + (response.warning or 0)


def awaits_more(study: Study, response: Response, received: Received) -> bool:
    """Whether images may still be on their way from the receiver to us.

    Where a success comes without counts, only time tells that nothing more does.
    """
    if response.completed is None and response.status == 0:
        return not study.announced_instances or received.instances < study.announced_instances
    return received.deliveries < deliveries_told(response)


def judge(study: Study, response: Response, received: Received | None) -> StudyResult:
    """The verdict on one attempt; ``received`` is None where another machine receives.

    Retrieved means: the final status is a success, no sub-operation failed, and both the counts and the files reach
    what the PACS announced. The counts alone decide only where another machine receives.
    """
    told = deliveries_told(response)
    announced = study.announced_instances or 0
    counted = response.completed is not None
    there = told if received is None else received.instances
    expected = max(announced, told + (response.failed or 0)) if counted else max(announced, there)
    outcome, detail = _judged(announced, response, received, told if counted else there, there)
    if outcome is Outcome.RETRIEVED and announced and there > announced:
        detail = f"the PACS announced {announced}"
    if outcome is Outcome.RETRIEVED:
        expected = there
    if received is None:
        detail = f"received by another AE, counts as the PACS told them{'; ' if detail else ''}{detail}"
    return StudyResult(study, outcome, expected=expected, received=there, detail=detail, status=response.status)


def _judged(
    announced: int, response: Response, received: Received | None, sent: int, there: int
) -> tuple[Outcome, str]:
    some = Outcome.PARTIAL if there else Outcome.FAILED
    words = in_words(response.status, response.comment)
    with_warnings_only = response.status == _SOME_FAILED and response.warning and not response.failed
    if response.status != 0 and not with_warnings_only:
        return some, f"C-MOVE: {words}{_failures(response)}"
    if response.failed:
        return some, f"C-MOVE: {words}{_failures(response)}"
    if not sent:
        return some, f"C-MOVE: {words}, but no image was sent"
    if sent < announced:
        return some, f"the PACS announced {announced} instances and sent {sent}"
    if received is None:
        return Outcome.RETRIEVED, ""
    other = f", {received.other_patient} carry another PatientID" if received.other_patient else ""
    if there < announced:
        return some, f"the PACS announced {announced} instances, {there} are on disk{other}"
    if there < sent and (not announced or received.deliveries < sent):
        # An instance that is sent twice may have taken the place of another; only an announcement tells.
        return some, f"the PACS counted {sent} instances as sent, {there} different ones of this study arrived{other}"
    if response.remaining and not announced:
        return some, f"the PACS ended with {response.remaining} instances that it had not sent"
    return Outcome.RETRIEVED, "" if announced or response.completed is not None else "the PACS gave no count"


def _failures(response: Response) -> str:
    return f", {response.failed} of {response.failed + deliveries_told(response)} failed" if response.failed else ""
