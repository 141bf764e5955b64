"""What both sides of an association say of themselves when it is negotiated (PS3.7 annex D.3.3)."""

from pydicom.uid import UID
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)


def associate_primitive(longest_pdu: int) -> A_ASSOCIATE:
    """A request or answer without its AE titles and presentation contexts; PDUs of so many bytes can be received."""
    length, class_uid, version = (
        MaximumLengthNotification(), ImplementationClassUIDNotification(), ImplementationVersionNameNotification()
    )  # fmt: skip
    length.maximum_length_received = longest_pdu
    class_uid.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
    version.implementation_version_name = PYNETDICOM_IMPLEMENTATION_VERSION
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID("1.2.840.10008.3.1.1.1")
    primitive.user_information = [length, class_uid, version]
    return primitive
