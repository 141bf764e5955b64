"""Everything that can go wrong, one function for each; limits are methods of the Fault that it returns."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from pydicom import Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from demo.conversation import ConversationOverError, Counts
from demo.levels import query_keys
from demo.listener import cut
from demo.plan import SubOperation
from tests.pacs.fault import Fault, Occasion
from tests.pacs.journal import Kind, Request

_REJECTIONS = {
    "permanent": (1, 1, 1),
    "calling AE unknown": (1, 1, 3),
    "called AE unknown": (1, 1, 7),
    "transient": (2, 2, 1),
    "congestion": (2, 3, 1),
    "too many associations": (2, 3, 2),
}
_MODELS = {
    "PatientRoot": (PatientRootQueryRetrieveInformationModelFind, PatientRootQueryRetrieveInformationModelMove),
    "StudyRoot": (StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelMove),
}
_REQUESTS: tuple[Kind, ...] = ("echo", "find", "move")


# Associations


def reject(reason: str = "transient") -> Fault:
    """Reject associations: permanent, calling AE unknown, called AE unknown, transient, congestion, ..."""
    result, source, diagnostic = _REJECTIONS[reason]

    def strike(occasion: Occasion) -> None:
        occasion.association.acse.send_reject(result, source, diagnostic)
        occasion.association.kill()

    return _fault(strike, "association")


def reject_callers_except(*ae_titles: str) -> Fault:
    """Reject associations of any other calling AE, as PACS with a list of known peers do."""
    return reject("calling AE unknown").when(lambda request: request.calling_ae_title not in ae_titles)


def reject_other_called(ae_title: str) -> Fault:
    """Reject associations that call the PACS by another AE title."""
    return reject("called AE unknown").when(lambda request: request.called_ae_title != ae_title)


def refuse_model(model: Literal["PatientRoot", "StudyRoot"]) -> Fault:
    """Accept associations, but not the presentation contexts of one information model."""

    def strike(occasion: Occasion) -> None:
        acceptor = occasion.association.acceptor
        acceptor.supported_contexts = [
            context for context in acceptor.supported_contexts if context.abstract_syntax not in _MODELS[model]
        ]

    return _fault(strike, "association")


# Any request: what happens before the response with a number, counted from 0, or the sub-operation that it reports


def abort(*kinds: Kind, after: int = 0) -> Fault:
    """Abort the association, in a C-FIND or C-MOVE after so many pending responses."""
    return _before_response(_abort, kinds, after)


def abort_after_requests(count: int) -> Fault:
    """Abort each association when it asks for more than so many things."""
    return abort(*_REQUESTS).when(lambda request: request.position > count)


def drop(*kinds: Kind, after: int = 0) -> Fault:
    """Cut the connection without a word, as a dying process or a firewall does."""

    def strike(occasion: Occasion) -> None:
        _let_responses_leave(occasion)
        cut(occasion.association)
        raise ConversationOverError

    return _before_response(strike, kinds, after)


def hang(*kinds: Kind, after: int = 0) -> Fault:
    """Stop answering without closing, until the peer goes or the PACS is stopped."""
    return _before_response(lambda occasion: occasion.rest(), kinds, after)


def go_away(*kinds: Kind, seconds: float, after: int = 0) -> Fault:
    """Die with all associations, and listen again on the same port after a while."""

    def strike(occasion: Occasion) -> None:
        _let_responses_leave(occasion)
        occasion.pacs.go_away(seconds)
        raise ConversationOverError

    return _before_response(strike, kinds, after)


def pause(*kinds: Kind, seconds: float, after: int = 0) -> Fault:
    """Take this long once: before the answer, or before the response with a number."""
    return _before_response(lambda occasion: occasion.rest(seconds), kinds, after)


def slow(*kinds: Kind, seconds: float) -> Fault:
    """Take this long before each response of a request."""
    return _before_response(lambda occasion: occasion.rest(seconds), kinds, None)


def call(function: Callable[[], object], *kinds: Kind, after: int = 0) -> Fault:
    """Call the test at this moment, to kill a process or fill a disk, say."""

    def strike(occasion: Occasion) -> None:
        function()

    return _before_response(strike, kinds, after)


# C-FIND


def answer_find(status: int, comment: str = "", *, after: int = 0) -> Fault:
    """End a C-FIND with a status after so many matches."""

    def strike(occasion: Occasion) -> None:
        del occasion.find.matches[after:]
        occasion.find.final_status = status
        occasion.find.comment = comment

    return _fault(strike, "find")


def cut_off(matches: int, status: int = 0xA700) -> Fault:
    """End a C-FIND that has more matches than this, with A700 or whatever else; shorter ones are not changed."""

    def strike(occasion: Occasion) -> None:
        if len(occasion.find.matches) > matches:
            del occasion.find.matches[matches:]
            occasion.find.final_status = status

    return _fault(strike, "find")


def ignore_key(*keywords: str) -> Fault:
    """Match as if the key had been empty, but return it; without keywords, return the whole archive."""

    def strike(occasion: Occasion) -> None:
        keys = query_keys(occasion.identifier)
        asked = Dataset()
        for keyword, element in keys.items():
            if keyword in keywords or not keywords:
                asked.add_new(element.tag, element.VR, [] if element.VR == "SQ" else None)
            else:
                asked[keyword] = element
        occasion.find.matches = occasion.pacs.archive.find(occasion.request.level, query_keys(asked))

    return _fault(strike, "find")


def repeat_matches(times: int = 2) -> Fault:
    """Return every match so many times."""

    def strike(occasion: Occasion) -> None:
        occasion.find.matches = [
            match for match in occasion.find.matches for _ in range(times if occasion.concerns(match) else 1)
        ]

    return _fault(strike, "find")


def lose_matches(count: int | None = None) -> Fault:
    """Leave out so many matches of an answer, the last ones; all if no number is given."""

    def strike(occasion: Occasion) -> None:
        lost = [match for match in occasion.find.matches if occasion.concerns(match)]
        lost = lost if count is None else lost[max(0, len(lost) - count) :]
        occasion.find.matches = [match for match in occasion.find.matches if not any(match is one for one in lost)]

    return _fault(strike, "find")


def omit(*keywords: str) -> Fault:
    """Leave attributes out of the answers."""

    def change(match: Dataset) -> None:
        for keyword in keywords:
            if keyword in match:
                del match[keyword]

    return _changing_matches(change)


def answer_with(keyword: str, value: str | Callable[[str], str]) -> Fault:
    """Answer with another value than the stored one, valid or not, or with one made from it."""

    def change(match: Dataset) -> None:
        stored = match.get(keyword)
        other = value if isinstance(value, str) else value("" if stored is None else str(stored))
        vr = dictionary_VR(keyword)
        # As a number, a value that is none could not even be written.
        match[keyword] = DataElement(keyword, "LO" if vr in ("IS", "DS") else vr, other, validation_mode=IGNORE)

    return _changing_matches(change)


def pad(keyword: str = "PatientID", blanks: int = 4) -> Fault:
    """Answer with trailing blanks, as databases with columns of fixed width do."""
    return answer_with(keyword, lambda value: value + " " * blanks)


def announce(instances: int) -> Fault:
    """Announce this NumberOfStudyRelatedInstances, whatever is stored; ``omit`` announces none."""
    return answer_with("NumberOfStudyRelatedInstances", str(instances))


def announce_more(instances: int = 1) -> Fault:
    """Announce more instances than are stored, or fewer with a negative number."""
    return answer_with("NumberOfStudyRelatedInstances", lambda value: str(int(value or 0) + instances))


def refuse_uid_lists(status: int = 0xA900, comment: str = "") -> Fault:
    """End a C-FIND with several StudyInstanceUIDs with an error."""
    return answer_find(status, comment).when(names_several_studies)


def lose_from_uid_lists(count: int = 1) -> Fault:
    """Leave the last matches out where several StudyInstanceUIDs are asked for."""
    return lose_matches(count).when(names_several_studies)


def names_several_studies(request: Request) -> bool:
    """Whether a request has a list of StudyInstanceUIDs."""
    return len(request.study_instance_uids) > 1


# C-MOVE


def answer_move(status: int, comment: str = "", *, after: int = 0, with_counts: bool = False) -> Fault:
    """End a C-MOVE with a status after so many instances; with counts, the others are counted as failed."""

    def strike(occasion: Occasion) -> None:
        plan = occasion.move
        unsent = plan.sub_operations[after:] if with_counts else []
        plan.sub_operations[after:] = [replace(one, pretended="failed") for one in unsent]
        plan.final_status = status
        plan.comment = comment
        if not with_counts:
            plan.reported = lambda counts: counts if counts.remaining is not None else None

    return _fault(strike, "move")


def fail_instances(count: int | None = None) -> Fault:
    """Count the last instances of a study as failed, without sending them: B000, or A702 if none is left."""

    def strike(occasion: Occasion) -> None:
        _pretend(occasion, count, "failed")

    return _fault(strike, "move")


def withhold(instances: int = 1) -> Fault:
    """Send fewer instances, but count them completed."""

    def strike(occasion: Occasion) -> None:
        _pretend(occasion, instances, "completed")

    return _fault(strike, "move")


def send_nothing() -> Fault:
    """Success with 0 sub-operations."""

    def strike(occasion: Occasion) -> None:
        occasion.move.sub_operations.clear()

    return _fault(strike, "move")


def send_twice(*, is_counted: bool = False) -> Fault:
    """Send each instance twice, counting it once or twice."""

    def strike(occasion: Occasion) -> None:
        occasion.move.sub_operations = [
            copy
            for one in occasion.move.sub_operations
            for copy in (one, replace(one, is_counted=one.is_counted and is_counted))
        ]

    return _fault(strike, "move")


def repeat_one_for_another() -> Fault:
    """Send the first instance again in place of the last one, so that the counts are right and the images are not."""

    def strike(occasion: Occasion) -> None:
        operations = occasion.move.sub_operations
        operations[-1:] = operations[:1]

    return _fault(strike, "move")


def send_other(study_instance_uid: str, *, instead: bool = False, is_counted: bool = False) -> Fault:
    """Send the first instance of another study too, or instead of the last instance of the right one."""

    def strike(occasion: Occasion) -> None:
        other = occasion.pacs.archive.instances(study_instance_uid)[0]
        operations = occasion.move.sub_operations
        if instead:
            operations[-1:] = [SubOperation(other)]
        else:
            operations.append(SubOperation(other, is_counted=is_counted))

    return _fault(strike, "move")


def no_counts() -> Fault:
    """Leave the counts out of every response."""
    return report_counts(lambda counts: None)


def report_counts(change: Callable[[Counts], Counts | None]) -> Fault:
    """Report other counts than the true ones; ``remaining`` is None in the final response."""

    def strike(occasion: Occasion) -> None:
        earlier = occasion.move.reported

        def reported(counts: Counts) -> Counts | None:
            so_far = earlier(counts)
            return None if so_far is None else change(so_far)

        occasion.move.reported = reported

    return _fault(strike, "move")


def no_pending_responses() -> Fault:
    """Send the final response only."""

    def strike(occasion: Occasion) -> None:
        occasion.move.has_pending_responses = False

    return _fault(strike, "move")


def keep_sending() -> Fault:
    """Go on sending when the association of the C-MOVE is gone, as many PACS do."""

    def strike(occasion: Occasion) -> None:
        occasion.move.outlives_association = True

    return _fault(strike, "move")


def comment_move(text: str) -> Fault:
    """Add an Error Comment to the final response, without another change."""

    def strike(occasion: Occasion) -> None:
        occasion.move.comment = text

    return _fault(strike, "move")


def grow(instances: int = 1) -> Fault:
    """Take in more instances while a study is moved: not sent by this move, but there for the next request."""

    def strike(occasion: Occasion) -> None:
        for uid in occasion.request.study_instance_uids:
            occasion.pacs.grow(uid, instances)

    return _fault(strike, "move")


def _fault(strike: Callable[[Occasion], None], *kinds: Kind) -> Fault:
    return Fault(frozenset(kinds), strike)


def _before_response(strike: Callable[[Occasion], None], kinds: Sequence[Kind], after: int | None) -> Fault:
    """Strike before the response with a number, before each one with None; an association only has its beginning."""
    if not kinds:
        raise ValueError("name the kinds of request: association, echo, find, move")

    def prepare(occasion: Occasion) -> None:
        def step(number: int) -> None:
            if after is None or number == after:
                strike(occasion)

        occasion.plan.before_response.append(step)

    return _fault(prepare, *kinds)


def _changing_matches(change: Callable[[Dataset], None]) -> Fault:
    def strike(occasion: Occasion) -> None:
        for match in occasion.find.matches:
            if occasion.concerns(match):
                change(match)

    return _fault(strike, "find")


def _pretend(occasion: Occasion, count: int | None, result: Literal["completed", "failed"]) -> None:
    operations = occasion.move.sub_operations
    first = 0 if count is None else max(0, len(operations) - count)
    operations[first:] = [replace(one, pretended=result) for one in operations[first:]]


def _let_responses_leave(occasion: Occasion) -> None:
    """The last response is written by another thread; it is to arrive before the connection is cut."""
    occasion.rest(0.05)


def _abort(occasion: Occasion) -> None:
    occasion.association.abort(block=True)
    raise ConversationOverError
