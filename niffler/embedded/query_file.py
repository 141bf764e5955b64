"""Query files: Native DICOM Model XML or DICOM, each read when its turn comes."""

import io
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from niffler.embedded.errors import ToolError
from niffler.embedded.native_xml import from_xml
from niffler.embedded.printing import reason_of


def read_xml_or_dicom(path: str) -> Dataset:
    """The keys of findscu's query file: XML where its name ends so, else DICOM."""
    if not path.lower().endswith(".xml"):
        return read_dicom(path)
    try:
        return from_xml(Path(path).read_bytes())
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:
        raise ToolError(f"{path}: {error}") from None


def read_dicom(path: str) -> Dataset:
    """The data set of a DICOM file, without its file meta information."""
    try:
        whole = dcmread(io.BytesIO(Path(path).read_bytes()))  # it may be a pipe
        keys = Dataset()
        keys.update({element.tag: element for element in whole})
    except OSError as error:
        raise _unreadable(path, error) from None
    except (InvalidDicomError, ValueError, TypeError, EOFError, KeyError, NotImplementedError):
        raise ToolError(f"{path}: Not a DICOM Stream") from None
    return keys


def _unreadable(path: str, error: OSError) -> ToolError:
    return ToolError(f"{path} ({reason_of(error)})")
