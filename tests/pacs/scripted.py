"""A PACS with faults: serves studies as the demo PACS does, except where its script says otherwise.

with ScriptedPacs(folder, faults.answer_move(0xA702).first(2), faults.abort("find").every(3)) as pacs:
    pacs.add_destination("QBNIFFLER", "127.0.0.1", port)
    ...
    assert len(pacs.requests("move")) == 3
"""

import argparse
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event, EventHandlerType

from demo.archive import Instance
from demo.conversation import Conversation, ConversationOverError, is_over
from demo.levels import query_keys
from demo.matching import is_universal, values_of
from demo.pacs import DemoPacs
from demo.plan import FindPlan, Plan, Result
from demo.studies import add_instance
from tests.pacs import faults as known_faults
from tests.pacs.fault import Fault, Occasion, Rule
from tests.pacs.journal import Journal, Kind, Request


class ScriptedPacs(DemoPacs):
    """A PACS whose faults are declared when it is made, and may be changed while it runs."""

    def __init__(
        self,
        folder: Path,
        *faults: Fault,
        ae_title: str = "FAULTY",
        host: str = "127.0.0.1",
        port: int = 0,
        destinations: Mapping[str, tuple[str, int]] | None = None,
    ) -> None:
        super().__init__(folder, ae_title=ae_title, host=host, port=port, destinations=destinations)
        self.journal = Journal()
        self._rules_lock = threading.RLock()
        self._rules: list[Rule] = []
        self._positions: dict[Association, list[int]] = {}
        self._associations = 0
        self._added = 0
        self._absence: threading.Thread | None = None
        self.script(*faults)

    # What happened

    def requests(self, kind: Kind | None = None) -> list[Request]:
        """The requests so far, all or those of one kind: association, echo, find or move."""
        return self.journal.requests(kind)

    def moved(self) -> list[str]:
        """The studies of every C-MOVE so far, in order, as often as they were asked for."""
        return [uid for request in self.requests("move") for uid in request.study_instance_uids]

    def sent(self) -> list[str]:
        """SOP Instance UIDs that a destination accepted, in order, as often as it did."""
        return self.journal.sent()

    def wait_until(self, condition: Callable[["ScriptedPacs"], bool], seconds: float = 10) -> None:
        """Wait for something to be true of this PACS; TimeoutError if it never is."""
        self.journal.wait_until(lambda: condition(self), seconds)

    @property
    def open_associations(self) -> int:
        """How many associations there are at this moment, with the one that is asked for."""
        with self._rules_lock:
            return sum(association.is_alive() for association in self._positions)

    # What to do

    def script(self, *faults: Fault) -> None:
        """Replace the faults; none makes a PACS in good order. Turns are counted from now on."""
        with self._rules_lock:
            self._rules = [Rule(fault) for fault in faults]

    def grow(self, study_instance_uid: str, instances: int = 1) -> list[str]:
        """Take in more instances of a study; returns their SOP Instance UIDs."""
        stored = self.archive.instances(study_instance_uid)
        added = []
        for _ in range(instances if stored else 0):
            with self._rules_lock:
                self._added += 1
                number = self._added
            added.append(self.archive.add(add_instance(stored[-1].path, number)).sop_instance_uid)
        return added

    def go_away(self, seconds: float) -> None:
        """Cut all connections, refuse new ones, and listen again after a while; returns at once."""
        with self._rules_lock:
            listener = self._listener
            if listener is None or (self._absence is not None and self._absence.is_alive()):
                return
            listener.cut_connections()

            def return_later() -> None:
                if not self.stopping.wait(seconds):
                    listener.close()
                    with self._rules_lock:
                        self._listener = None
                        self.start()

            self._absence = threading.Thread(target=return_later, name="pacs-absence")
            self._absence.start()

    def rest(self, association: Association | None, seconds: float | None = None) -> None:
        """Do nothing for a while, or for ever; ends with the association and with the PACS."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self.stopping.wait(0.02 if end is None else max(0.0, min(0.02, end - time.monotonic()))):
            if association is not None and is_over(association):
                raise ConversationOverError
            if end is not None and time.monotonic() >= end:
                return
        raise ConversationOverError

    def stop(self) -> None:
        """End everything; returns when every thread has ended."""
        self.stopping.set()
        if self._absence is not None:
            self._absence.join()
        super().stop()

    # How the demo PACS is bent

    def event_handlers(self) -> list[EventHandlerType]:
        """Association requests come as an event."""
        return [(evt.EVT_REQUESTED, self._on_association_request)]

    def plan(self, conversation: Conversation) -> Plan:
        """The plan of a PACS in good order, after every fault that is due has changed it."""
        request = self._request(conversation)
        self.journal.note_request(request)
        plan = super().plan(conversation)
        self._strike(conversation.association, request, plan, conversation.identifier)
        return plan

    def note_sub_operation(self, instance: Instance, result: Result, *, is_sent: bool) -> None:
        """Remember what really arrived."""
        if is_sent and result != "failed":
            self.journal.note_sent(instance.sop_instance_uid)

    def _on_association_request(self, event: Event) -> None:
        association = event.assoc
        with self._rules_lock:
            self._associations += 1
            number = self._associations
            self._positions = {known: held for known, held in self._positions.items() if known.is_alive()}
            self._positions[association] = [number, 0]
        request = Request(
            kind="association",
            association=number,
            position=0,
            calling_ae_title=_ae_title(association, "calling"),
            called_ae_title=_ae_title(association, "called"),
        )
        self.journal.note_request(request)
        plan = Plan()
        try:
            self._strike(association, request, plan, Dataset())
            plan.prepare_response(0)
        except ConversationOverError:
            association.is_aborted = True  # so that it is not negotiated either
            association.kill()

    def _request(self, conversation: Conversation) -> Request:
        with self._rules_lock:
            place = self._positions[conversation.association]
            place[1] += 1
            association, position = place
        return Request(
            kind=conversation.kind,
            association=association,
            position=position,
            calling_ae_title=_ae_title(conversation.association, "calling"),
            called_ae_title=_ae_title(conversation.association, "called"),
            level=conversation.level,
            keys={
                keyword: () if is_universal(element) else values_of(element)
                for keyword, element in query_keys(conversation.identifier).items()
            },
            is_patient_root=conversation.is_patient_root,
            is_relational=conversation.is_relational,
            destination=conversation.move_destination,
            message_id=conversation.message_id,
        )

    def _strike(self, association: Association, request: Request, plan: Plan, identifier: Dataset) -> None:
        """Let every fault that is due change the plan, in the order of the script."""
        concerned = set(request.study_instance_uids)
        if isinstance(plan, FindPlan):
            concerned |= {str(match.get("StudyInstanceUID", "")) for match in plan.matches}
        with self._rules_lock:
            due = [rule.fault for rule in self._rules if rule.is_due(request, frozenset(concerned))]
        for fault in due:
            fault.strike(Occasion(self, association, request, plan, identifier, fault.studies))


def _ae_title(association: Association, role: Literal["calling", "called"]) -> str:
    """An AE title as the association request has it."""
    return str(getattr(association.requestor.primitive, f"{role}_ae_title", "")).strip()


def fault_from_json(described: Mapping[str, object]) -> Fault:
    """A fault such as {"fault": "answer_move", "arguments": [42754], "first": [2], "study": ["1.2.3"]}."""
    rest = dict(described)
    name = str(rest.pop("fault"))
    make = getattr(known_faults, name, None)
    if name.startswith("_") or getattr(make, "__module__", "") != known_faults.__name__:
        raise ValueError(f"no fault is called {name!r}")
    arguments, options = rest.pop("arguments", []), rest.pop("options", {})
    assert callable(make)
    assert isinstance(arguments, list)
    assert isinstance(options, dict)
    fault = make(*arguments, **options)
    for limit, values in rest.items():
        fault = getattr(fault, limit)(*(values if isinstance(values, list) else [values]))
    assert isinstance(fault, Fault)
    return fault


def main(arguments: list[str] | None = None) -> int:
    """Run a scripted PACS until SIGTERM or SIGINT.

    The script is JSON: {"folder": ..., "port": 0, "destinations": {"AET": ["host", port]}, "faults": [...]}.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.pacs.scripted", description=__doc__)
    parser.add_argument("script", type=Path, help="a JSON file")
    script = json.loads(parser.parse_args(arguments).script.read_text(encoding="utf-8"))
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with ScriptedPacs(
        Path(script["folder"]),
        *map(fault_from_json, script.get("faults", [])),
        ae_title=script.get("ae_title", "FAULTY"),
        port=script.get("port", 0),
        destinations={ae_title: (host, port) for ae_title, (host, port) in script.get("destinations", {}).items()},
    ) as pacs:
        print(f"listening on {pacs.port}", flush=True)
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
