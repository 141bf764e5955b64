"""Asks a PACS and receives from it, with pynetdicom, independent of the suite."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from demo.listener import send_without_delay
from demo.pacs import DemoPacs

_MODELS = (
    Verification,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
)


def associate(
    pacs: DemoPacs, *, calling: str = "CLIENT", called: str | None = None, is_relational: bool = False
) -> Association:
    """An association for everything that the PACS offers; look at ``is_established``."""
    ae = AE(calling)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = 5
    for model in _MODELS:
        ae.add_requested_context(model)
    negotiation = SOPClassExtendedNegotiation()
    negotiation.sop_class_uid = StudyRootQueryRetrieveInformationModelFind
    negotiation.service_class_application_information = b"\x01"
    return ae.associate(
        pacs.host,
        pacs.port,
        ae_title=called or pacs.ae_title,
        ext_neg=[negotiation] if is_relational else [],
        evt_handlers=[(evt.EVT_CONN_OPEN, send_without_delay)],
    )


@dataclass(frozen=True)
class Response:
    """A response: its command set, and its identifier if it has one."""

    command: Dataset
    identifier: Dataset | None

    @property
    def status(self) -> int | None:
        """The status; None if the association ended instead."""
        value = self.command.get("Status")
        return None if value is None else int(value)

    @property
    def counts(self) -> tuple[int | None, int | None, int | None, int | None]:
        """Remaining, completed, failed and warning sub-operations; None where absent."""
        names = ("Remaining", "Completed", "Failed", "Warning")
        remaining, completed, failed, warning = (self.command.get(f"NumberOf{name}Suboperations") for name in names)
        return remaining, completed, failed, warning


def identifier(level: str, keys: Mapping[str, str | list[str] | None]) -> Dataset:
    """The identifier of a request."""
    asked = Dataset()
    asked.SpecificCharacterSet = "ISO_IR 192"
    asked.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    return asked


def find(
    association: Association, level: str = "STUDY", *, patient_root: bool = False, **keys: str | list[str] | None
) -> list[Response]:
    """All responses to a C-FIND, the final one last."""
    model = PatientRootQueryRetrieveInformationModelFind if patient_root else StudyRootQueryRetrieveInformationModelFind
    return [
        Response(command, answer)
        for command, answer in association.send_c_find(identifier(level, keys), query_model=model)
    ]


def move(
    association: Association, destination: str, *, patient_root: bool = False, **keys: str | list[str] | None
) -> list[Response]:
    """All responses to a C-MOVE at STUDY level, the final one last."""
    model = PatientRootQueryRetrieveInformationModelMove if patient_root else StudyRootQueryRetrieveInformationModelMove
    return [
        Response(command, answer)
        for command, answer in association.send_c_move(identifier("STUDY", keys), destination, query_model=model)
    ]


class Receiver:
    """A storage SCP on a free port, that keeps in memory what it receives."""

    def __init__(self, ae_title: str = "RECEIVER") -> None:
        self.ae_title = ae_title
        self.received: list[Dataset] = []
        self._ae = AE(ae_title)
        self._ae.acse_timeout = 2  # how long its threads outlive a connection that was cut before it was used

    def __enter__(self) -> Self:
        self._ae.supported_contexts = AllStoragePresentationContexts
        self._server = self._ae.start_server(
            ("127.0.0.1", 0),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._on_store), (evt.EVT_CONN_OPEN, send_without_delay)],
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ae.shutdown()

    @property
    def port(self) -> int:
        """The port listened on."""
        assert self._server is not None
        return int(self._server.server_address[1])

    def sop_instance_uids(self) -> list[str]:
        """What arrived, in order, as often as it did."""
        return [str(dataset.SOPInstanceUID) for dataset in self.received]

    def _on_store(self, event: Event) -> int:
        dataset = event.dataset
        dataset.decode()
        self.received.append(dataset)
        return 0
