"""Expected ends of a tool and of an association."""


class ToolError(Exception):
    """Ends the tool with exit code 2; its text is the line on standard error."""


class UsageError(ToolError):
    """The command line is wrong; a hint at ``--help`` follows the line."""


class AssociationEndedError(Exception):
    """The association is no more; its text says why, in the tools' words."""


class PeerAbortedError(AssociationEndedError):
    """The peer sent A-ABORT (PS3.8 9.3.8)."""


class PeerReleasedError(AssociationEndedError):
    """The peer sent A-RELEASE-RQ (PS3.8 9.3.6)."""


class RejectedError(AssociationEndedError):
    """The peer sent A-ASSOCIATE-RJ (PS3.8 9.3.4)."""


class ConnectionBrokenError(AssociationEndedError):
    """The TCP connection ended without a goodbye, or what came over it was no DICOM."""


class SilenceError(AssociationEndedError):
    """Nothing arrived within the time allowed."""
