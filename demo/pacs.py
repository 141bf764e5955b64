"""A small PACS: C-ECHO, C-FIND at STUDY and SERIES level, C-MOVE of studies to known destinations."""

import argparse
import contextlib
import logging
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from pydicom import Dataset
from pynetdicom.events import EventHandlerType

from demo.archive import Archive, Instance
from demo.conversation import (
    CANCELLED,
    CANNOT_PERFORM_SUB_OPERATIONS,
    DESTINATION_UNKNOWN,
    IDENTIFIER_DOES_NOT_MATCH,
    PENDING,
    SUB_OPERATIONS_FAILED,
    SUCCESS,
    Conversation,
    ConversationOverError,
    Counts,
)
from demo.levels import fault_of_query, query_keys
from demo.listener import Listener
from demo.matching import values_of
from demo.plan import FindPlan, MovePlan, Plan, Result, SubOperation
from demo.retrieval import Retrieval
from demo.studies import generate_studies, write_sample_studies


class RefusedError(Exception):
    """The request cannot be answered; carries the status and the Error Comment of the response."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment


class DemoPacs:
    """The PACS. Starts with ``start`` or as a context manager; ``stop`` leaves no thread or socket behind.

    >>> with DemoPacs(folder, destinations={"QBNIFFLER": ("127.0.0.1", 4243)}) as pacs:  # doctest: +SKIP
    ...     print(pacs.port)
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "DEMOPACS",
        host: str = "127.0.0.1",
        port: int = 0,
        destinations: Mapping[str, tuple[str, int]] | None = None,
    ) -> None:
        self.ae_title = ae_title
        self.host = host
        self.port = port
        self.archive = Archive()
        self.archive.load(folder)
        self.stopping = threading.Event()
        self._destinations = dict(destinations or {})
        self._listener: Listener | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """The PACS as SrcAet names it: AET@HOST:PORT."""
        return f"{self.ae_title}@{self.host}:{self.port}"

    def start(self) -> None:
        """Listen; on a free port the first time if none was given, and on the same one ever after."""
        if self._listener is None:
            self.stopping.clear()
            self._listener = Listener(self.ae_title, (self.host, self.port), self.answer, self.event_handlers())
            self.port = self._listener.port

    def stop(self) -> None:
        """Cut all associations and stop listening; returns when every thread has ended."""
        self.stopping.set()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def add_destination(self, ae_title: str, host: str, port: int) -> None:
        """Make a C-MOVE destination known."""
        self._destinations[ae_title] = (host, port)

    def event_handlers(self) -> list[EventHandlerType]:
        """What else to do on events of an association; for subclasses."""
        return []

    def answer(self, conversation: Conversation) -> None:
        """Answer one request; runs in the thread of its association."""
        try:
            plan = self.plan(conversation)
            if isinstance(plan, MovePlan):
                self._carry_out_move(conversation, plan)
            elif isinstance(plan, FindPlan):
                self._carry_out_find(conversation, plan)
            else:
                plan.prepare_response(0)
                conversation.respond(plan.final_status or SUCCESS)
        except RefusedError as refused:
            conversation.respond(refused.status, comment=refused.comment)

    def plan(self, conversation: Conversation) -> Plan:
        """How a request is answered in good order; a subclass may change that before it is carried out."""
        if conversation.kind == "find":
            return self._plan_find(conversation)
        if conversation.kind == "move":
            return self._plan_move(conversation)
        return Plan()

    def _plan_find(self, conversation: Conversation) -> FindPlan:
        keys = query_keys(conversation.identifier)
        fault = fault_of_query(
            conversation.level,
            keys,
            is_patient_root=conversation.is_patient_root,
            is_relational=conversation.is_relational,
        )
        if fault:
            raise RefusedError(IDENTIFIER_DOES_NOT_MATCH, fault)
        return FindPlan(matches=self.archive.find(conversation.level, keys))

    def _carry_out_find(self, conversation: Conversation, plan: FindPlan) -> None:
        """Send the matches and the final response, until cancelled."""
        for number, match in enumerate(plan.matches):
            plan.prepare_response(number)
            if conversation.is_cancelled:
                conversation.respond(CANCELLED)
                return
            conversation.respond(PENDING, identifier=match)
        plan.prepare_response(len(plan.matches))
        conversation.respond(plan.final_status or SUCCESS, comment=plan.comment)

    def _plan_move(self, conversation: Conversation) -> MovePlan:
        keys = query_keys(conversation.identifier)
        if conversation.level != "STUDY":
            raise RefusedError(IDENTIFIER_DOES_NOT_MATCH, f"Cannot retrieve at level '{conversation.level}'")
        study_instance_uids = values_of(keys.get("StudyInstanceUID"))
        if not study_instance_uids:
            raise RefusedError(IDENTIFIER_DOES_NOT_MATCH, "Missing StudyInstanceUID")
        patient_ids = values_of(keys.get("PatientID"))
        if conversation.is_patient_root and len(patient_ids) != 1:
            raise RefusedError(IDENTIFIER_DOES_NOT_MATCH, "Missing PatientID")
        return MovePlan(
            sub_operations=[
                SubOperation(instance)
                for uid in dict.fromkeys(study_instance_uids)
                for instance in self.archive.instances(uid)
                if not conversation.is_patient_root or instance.patient_id == patient_ids[0]
            ]
        )

    def _carry_out_move(self, conversation: Conversation, plan: MovePlan) -> None:
        """Send the instances, a pending response after each, then the final one."""
        address = self._destinations.get(conversation.move_destination)
        if address is None:
            raise RefusedError(DESTINATION_UNKNOWN, f"Unknown Move Destination: {conversation.move_destination}")
        if self._listener is None:
            return
        counts = Counts(remaining=sum(one.is_counted for one in plan.sub_operations))
        failed: list[str] = []
        instances = [one.instance for one in plan.sub_operations if one.pretended is None]
        with Retrieval(conversation, self.ae_title, address, instances, self._listener) as retrieval:
            for number, one in enumerate(plan.sub_operations):
                plan.prepare_response(number)
                if conversation.is_cancelled:
                    conversation.respond(CANCELLED, counts=plan.reported(counts))
                    return
                result = one.pretended or retrieval.send(one.instance)
                self.note_sub_operation(one.instance, result, is_sent=one.pretended is None)
                if not one.is_counted:
                    continue
                counts = _counted(counts, result)
                if result == "failed":
                    failed.append(one.instance.sop_instance_uid)
                if plan.has_pending_responses:
                    with contextlib.suppress(*([ConversationOverError] if plan.outlives_association else [])):
                        conversation.respond(PENDING, counts=plan.reported(counts))
            plan.prepare_response(len(plan.sub_operations))
        status = _final_status(counts) if plan.final_status is None else plan.final_status
        report = Dataset()
        report.FailedSOPInstanceUIDList = failed
        conversation.respond(
            status,
            counts=plan.reported(replace(counts, remaining=None)),
            identifier=report if failed and status != SUCCESS else None,
            comment=plan.comment,
        )

    def note_sub_operation(self, instance: Instance, result: Result, *, is_sent: bool) -> None:
        """Called after each sub-operation; for subclasses."""


def _counted(counts: Counts, result: Result) -> Counts:
    """The counts after one more sub-operation."""
    return replace(counts, remaining=(counts.remaining or 1) - 1, **{result: getattr(counts, result) + 1})


def _final_status(counts: Counts) -> int:
    if not counts.failed and not counts.warning:
        return SUCCESS
    return SUB_OPERATIONS_FAILED if counts.completed or counts.warning else CANNOT_PERFORM_SUB_OPERATIONS


def _destination(text: str) -> tuple[str, tuple[str, int]]:
    ae_title, _, address = text.partition("=")
    host, _, port = address.rpartition(":")
    if not (ae_title and host and port.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not AET=HOST:PORT")
    return ae_title, (host, int(port))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo.pacs", description=__doc__)
    parser.add_argument("--folder", type=Path, help="DICOM files to serve")
    parser.add_argument("--samples", action="store_true", help="serve the sample studies of the demo too")
    parser.add_argument("--generate", type=int, default=0, metavar="N", help="serve N generated studies too")
    parser.add_argument("--instances", type=int, default=4, help="images of each generated study")
    parser.add_argument("--size", type=int, default=64, help="rows and columns of each generated image")
    parser.add_argument("--ae-title", default="DEMOPACS")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all")
    parser.add_argument("--port", type=int, default=11112, help="0 takes a free port")
    parser.add_argument(
        "--destination",
        type=_destination,
        action="append",
        default=[],
        metavar="AET=HOST:PORT",
        help="where C-MOVE may send to; may be given several times",
    )
    options = parser.parse_args(arguments)
    if options.folder is not None and not options.folder.is_dir():
        parser.error(f"{options.folder} is not a folder")
    if options.folder is None and not options.samples and not options.generate:
        parser.error("nothing to serve: give --folder, --samples or --generate")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the PACS until SIGTERM or SIGINT."""
    options = _options(arguments)
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with tempfile.TemporaryDirectory(prefix="demo-pacs-") as made:
        if options.samples:
            write_sample_studies(Path(made))
        generate_studies(Path(made), options.generate, instances=options.instances, size=options.size)
        pacs = DemoPacs(
            Path(made),
            ae_title=options.ae_title,
            host=options.host,
            port=options.port,
            destinations=dict(options.destination),
        )
        if options.folder is not None:
            pacs.archive.load(options.folder)
        try:
            pacs.start()
        except OSError as error:
            print(f"cannot listen on {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
            return 1
        with pacs:
            print(f"listening on {pacs.port}", flush=True)
            ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
