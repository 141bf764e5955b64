"""The settings of a run: every key of system.json and config.json, its default, and what it may be."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_pascal, to_snake

from niffler.addresses import AE_FORM, PEER_FORM, RECEIVING_FORM, Peer, ReceivingAe, ae_title, peer, receiving_ae
from niffler.shards import PLACEHOLDER, Shard, modified_csv

PLACEHOLDER_EMAIL = "test@test.test"
WATCH: Final = "watch"
TOOLS = ("storescp", "findscu", "movescu")
_OFTEN_ASKED = ["PatientID", "AccessionNumber", "StudyInstanceUID", "StudyDate", "StudyMonth", "Modality"]


class Mode(Enum):
    """What a run does, as FilePath says."""

    RETRIEVE = "retrieve images"
    FIND_ONLY = "CFIND-ONLY"
    FIND_DETAILED = "CFIND-DETAILED"


class Task(Enum):
    """What a call of the script is for: an extraction, or a look at one, as an option of the command line says."""

    EXTRACT = ""
    VERIFY = "Verify"
    DRY_RUN = "DryRun"
    STATUS = "Status"
    REPORT = "Report"


READS_STATE_ONLY = frozenset({Task.STATUS, Task.REPORT})
"""Tasks for which the files beside the list are enough: no folder has to be writable, nothing is asked."""


class InformationModel(StrEnum):
    """The Query/Retrieve information models of PS3.4 C.6."""

    STUDY_ROOT = "StudyRoot"
    PATIENT_ROOT = "PatientRoot"


@dataclass(frozen=True)
class Attribute:
    """One attribute of the query and the index of its CSV column."""

    keyword: str
    index: int


_FLAG_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _flag(value: object) -> object:
    if isinstance(value, bool):
        return value
    known = _FLAG_WORDS.get(str(value).strip().casefold())
    if known is None:
        raise ValueError("write true or false")
    return known


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("write a number")
    return value.strip() if isinstance(value, str) else value


def _text(value: object) -> object:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _parsed(parse: Any) -> BeforeValidator:
    def read(value: object) -> object:
        if isinstance(value, (Peer, ReceivingAe)):
            return value
        if not isinstance(value, str):
            raise ValueError("write a text in quotation marks")
        return parse(value)

    return BeforeValidator(read)


def _date_format(value: object) -> object:
    # Seen in old settings files: %%m%d%y, where a single percent sign was meant.
    return value.replace("%%", "%") if isinstance(value, str) else value


def _path(value: object) -> object:
    if not isinstance(value, (str, Path)):
        return value
    try:
        if not str(value).strip():
            raise ValueError("it is empty; write one")
        path = Path(value).expanduser().absolute()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            path.stat()
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"is no path: {error}") from None
    return path


def _options(value: object) -> object:
    if isinstance(value, Mapping):
        for tool in value:
            if tool not in TOOLS:
                raise ValueError(f"'{tool}' is none of {', '.join(TOOLS)}")
    return value


_WITH_SHARD = {"type": "string", "pattern": re.escape(PLACEHOLDER)}
"""What holds {shard} is looked at when that is known."""


def _written(form: str, *, by_shard: bool = False) -> WithJsonSchema:
    """How a value of another type is written in JSON: as a text of this form."""
    written = {"type": "string", "pattern": f"^({form})$"}
    return WithJsonSchema({"anyOf": [written, _WITH_SHARD]} if by_shard else written)


# A form and no list of words, which editors would offer beside true and false.
_FLAG_FORM = "|".join(
    "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in word) for word in _FLAG_WORDS
)
_FLAG_SCHEMA = {"anyOf": [{"type": "boolean"}, {"enum": [0, 1]}, {"type": "string", "pattern": f"^({_FLAG_FORM})$"}]}


def _flag_or_watch(value: object) -> object:
    if str(value).strip().casefold() == WATCH:
        return WATCH
    try:
        return _flag(value)
    except ValueError:
        raise ValueError(f"write true, false or {WATCH}") from None


Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema(_FLAG_SCHEMA)]
FlagOrWatch = Annotated[bool | Literal["watch"], BeforeValidator(_flag_or_watch)]
Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number)]
Text = Annotated[str, BeforeValidator(_text)]
UserPath = Annotated[Path, BeforeValidator(_path), WithJsonSchema({"type": "string", "minLength": 1})]
NifflerId = Annotated[
    int, BeforeValidator(_number), WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, _WITH_SHARD]})
]
AeTitle = Annotated[str, _parsed(ae_title), _written(AE_FORM)]
Model = Annotated[InformationModel, WithJsonSchema({"enum": [*InformationModel]})]


class _Keys(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_pascal, frozen=True, extra="forbid", arbitrary_types_allowed=True, validate_default=True
    )


class SystemSettings(_Keys):
    """system.json: this machine and its PACS."""

    dcm4che_bin: Text = Field(
        "/opt/dcm4che-5.34.3/bin",
        alias="DCM4CHEBin",
        min_length=1,
        description="DCM4CHE's bin folder, or 'embedded' for the tools that come with the suite",
    )
    src_aet: Annotated[Peer, _parsed(peer), _written(PEER_FORM, by_shard=True)] = Field(
        description="the PACS, AET@HOST:PORT"
    )
    query_aet: Annotated[ReceivingAe, _parsed(receiving_ae), _written(RECEIVING_FORM, by_shard=True)] = Field(
        description="this machine as the PACS knows it, AET:PORT; storescp listens on the port"
    )
    dest_aet: Annotated[str, _parsed(ae_title), _written(AE_FORM, by_shard=True)] = Field(
        description="the AE that the images are sent to; that of QueryAet as a rule"
    )
    nightly_only: Flag = Field(True, description="retrieve in the nightly window only")
    start_hour: Whole = Field(19, ge=0, le=23, description="hour at which the window opens")
    end_hour: Whole = Field(7, ge=0, le=23, description="hour at which it shuts")
    niffler_id: NifflerId = Field(1, alias="NifflerID", ge=0, description="number in the name of the log, niffler1.log")
    max_niffler_processes: Whole = Field(1, ge=1, description="extractions that may run on this machine at once")
    information_model: Model = Field(
        InformationModel.STUDY_ROOT, description="Query/Retrieve model: StudyRoot or PatientRoot"
    )
    parallel_retrievals: Whole = Field(1, ge=1, le=64, description="C-MOVE associations at once")
    queries_per_association: Whole = Field(100, ge=1, le=10_000, description="C-FINDs over one association")
    retrievals_per_association: Whole = Field(
        100, ge=1, le=10_000, description="C-MOVEs over one association, 100 at most"
    )
    connect_timeout_seconds: Whole = Field(30, ge=1, description="wait for a connection, and for its acceptance")
    response_timeout_seconds: Whole = Field(300, ge=1, description="wait for a C-FIND response")
    retrieve_timeout_seconds: Whole = Field(1800, ge=1, description="wait between two C-MOVE responses")
    max_attempts: Whole = Field(3, ge=1, description="tries for a study or query before it has failed")
    give_up_minutes: Number = Field(
        60.0, gt=0, description="how long an unreachable PACS is waited for; at the first contact 2 minutes at most"
    )
    max_studies_per_row: Whole = Field(1000, ge=1, description="a row that matches more studies is refused")
    min_free_disk_gb: Number = Field(
        1.0, alias="MinFreeDiskGB", ge=0, description="with less free on the disk of StorageFolder the run gives up"
    )
    accepted_calling_aets: tuple[AeTitle, ...] = Field(
        (), description="AE titles that storescp accepts images from; empty: any"
    )
    dcm4che_options: Annotated[Mapping[str, tuple[Text, ...]], BeforeValidator(_options)] = Field(
        {},
        alias="Dcm4cheOptions",
        description="more options for storescp, findscu, movescu, such as those for TLS",
        json_schema_extra={"propertyNames": {"enum": [*TOOLS]}},
    )
    smtp_host: Text = Field("localhost", min_length=1, description="mail server")
    smtp_port: Whole = Field(25, ge=1, le=65535, description="its port")
    log_megabytes: Whole = Field(10, ge=1, description="size at which storescp.out is rotated; one older file is kept")


class ExtractionSettings(_Keys):
    """config.json: this extraction. Every key is also an option of the command line."""

    niffler_system: Text = Field("system.json", min_length=1, description="the file with the settings of the machine")
    storage_folder: UserPath = Field(Path("/opt/data/new-study"), description="where images and metadata go")
    file_path: Text = Field(
        "{00100020}/{0020000D}/{0020000E}/{00080018}.dcm",
        description="path of an image in StorageFolder, or CFIND-ONLY or CFIND-DETAILED for metadata alone",
        examples=[Mode.FIND_ONLY.value, Mode.FIND_DETAILED.value],
    )
    csv_file: UserPath = Field(Path("csv/empi.csv"), description="the list")
    number_of_query_attributes: Whole = Field(1, ge=1, le=3, description="how many attributes a row is asked by")
    first_attr: Text = Field(
        "PatientID", description="DICOM keyword of the first attribute, or StudyMonth", examples=_OFTEN_ASKED
    )
    first_index: Whole = Field(0, ge=0, description="index of its CSV column, from 0")
    second_attr: Text = Field(
        "AccessionNumber", description="the second, with 2 or 3 attributes", examples=_OFTEN_ASKED
    )
    second_index: Whole = Field(1, ge=0, description="index of its CSV column")
    third_attr: Text = Field("StudyDate", description="the third, with 3 attributes", examples=_OFTEN_ASKED)
    third_index: Whole = Field(2, ge=0, description="index of its CSV column")
    long_accession: Flag = Field(
        False, description="take the century out of accession numbers longer than 16 characters"
    )
    date_format: Annotated[str, BeforeValidator(_date_format)] = Field(
        "%Y%m%d", min_length=2, description="how the CSV writes dates"
    )
    send_email: Flag = Field(True, description="send an email at the end and when a run gives up")
    morning_email: Flag = Field(
        False, description="with SendEmail, also send one each morning when the nightly window shuts"
    )
    your_email: Text = Field(PLACEHOLDER_EMAIL, description="to whom")
    report_identifiers: Flag = Field(
        False, description="name identifiers and details of rows on the report page, which otherwise has none"
    )
    exit_outside_window: Flag = Field(
        False, description="end with exit code 75 where a run would sleep until StartHour (NightlyOnly)"
    )
    allow_wildcards: Flag = Field(False, description="send * ? and \\ in values, which are refused otherwise")

    @property
    def mode(self) -> Mode:
        """What the run does."""
        return {mode.value: mode for mode in (Mode.FIND_ONLY, Mode.FIND_DETAILED)}.get(self.file_path, Mode.RETRIEVE)

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes that a row is asked by."""
        three = (
            Attribute(self.first_attr, self.first_index),
            Attribute(self.second_attr, self.second_index),
            Attribute(self.third_attr, self.third_index),
        )
        return three[: self.number_of_query_attributes]


class LookOptions(_Keys):
    """What is said on the command line alone: to look at an extraction and not to run one."""

    verify: Flag = Field(False, description="compare the images on disk with what was retrieved; asks no PACS")
    dry_run: Flag = Field(False, description="check everything and say what a run would retrieve; moves nothing")
    dry_run_rows: Whole = Field(
        0, ge=0, description="of how many rows, spread over the list, a dry run asks the PACS; 0: of all"
    )
    status: FlagOrWatch = Field(
        False, description="say how far the extraction of the list is; watch: go on saying it until the run ends"
    )
    report: Flag = Field(False, description="write the report page of the list anew")

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What was asked for; more than one cannot be done at once."""
        return tuple(task for task in Task if task.value and getattr(self, to_snake(task.value)))


class PartOptions(_Keys):
    """What is said on the command line alone: which part of the list this run takes."""

    shard: Shard | None = Field(
        None, description="NUMBER/COUNT, such as 3/8: take a part of the list; in an array job it follows by itself"
    )


class Settings(ExtractionSettings, LookOptions, PartOptions):
    """Everything a run needs to know."""

    system: SystemSettings = Field(alias="System")
    stylesheet: Path = Field(alias="Stylesheet")
    """description.csv.xsl."""
    shares_storage: bool = Field(False, alias="SharesStorage")
    """Whether the shards of the list write into one StorageFolder."""
    warnings: tuple[str, ...] = Field((), alias="Warnings")

    @property
    def modified_csv(self) -> Path:
        """The list, or the shard of it, as it is asked; all state of the extraction is named after this file."""
        return modified_csv(self.csv_file, self.shard)

    @property
    def task(self) -> Task:
        """What this call is for."""
        return self.tasks[0] if self.tasks else Task.EXTRACT

    @property
    def receives_here(self) -> bool:
        """Whether the images come to this machine, to a storescp of this run."""
        return self.mode is Mode.RETRIEVE and self.system.dest_aet == self.system.query_aet.ae_title

    @property
    def wants_email(self) -> bool:
        """Whether there is somebody to send an email to."""
        return self.send_email and bool(self.your_email.strip()) and self.your_email != PLACEHOLDER_EMAIL


def fault_of_file_path(file_path: str) -> str:
    """Why a FilePath cannot be used; empty where it can."""
    if file_path in (Mode.FIND_ONLY.value, Mode.FIND_DETAILED.value):
        return ""
    if "CFIND" in file_path.upper() and "{" not in file_path:
        return f"is {Mode.FIND_ONLY.value} or {Mode.FIND_DETAILED.value} meant?"
    if file_path.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", file_path):
        return "it leaves StorageFolder; write a path inside it"
    if not re.search(r"\{00080018(,(urlencoded|md5))?\}", file_path):
        return "without {00080018}, the SOPInstanceUID, instances overwrite each other; end it with {00080018}.dcm"
    return ""
