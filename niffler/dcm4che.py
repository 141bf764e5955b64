"""DCM4CHE's storescp, findscu and movescu: the only room that starts them and reads what they print."""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from niffler import printed
from niffler.errors import CannotStartError
from niffler.feed import Feed, QueryFiles, WrittenFiles
from niffler.settings import SystemSettings
from niffler.vocabulary import Ending, FindKind, Response

_TOOLS = ("storescp", "findscu", "movescu")
_JAVA_VARIABLES = ("JAVA_OPTS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
_EMBEDDED = Path(__file__).with_name("embedded") / "bin"
_LOG4J = """log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %-5p - %m%n
"""
_LOGBACK = """<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{yyyy-MM-dd HH:mm:ss.SSS} %-5level - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="out"/></root>
</configuration>
"""
# Beyond its own timeouts a tool may be silent for its start and for the network's goodbye; then it is stuck.
_GRACE_SECONDS = 60.0
_START_SECONDS = 60.0
_GOODBYE_SECONDS = 5.0
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Tools:
    """How the tools are called: where they are, whom they talk to, and how long they wait."""

    folder: Path
    """DCM4CHE's bin folder, or that of the embedded tools."""
    logging_folder: Path
    """A private folder for the logging settings of the Java tools."""
    pacs: str
    """The PACS as AET@HOST:PORT."""
    calling_ae: str
    """This machine as AET:PORT."""
    connect_seconds: int
    response_seconds: int
    retrieve_seconds: int
    extra_options: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, system: SystemSettings, logging_folder: Path) -> Self:
        """The tools as system.json has them."""
        return cls(
            folder=tools_folder(system.dcm4che_bin),
            logging_folder=logging_folder,
            pacs=str(system.src_aet),
            calling_ae=str(system.query_aet),
            connect_seconds=system.connect_timeout_seconds,
            response_seconds=system.response_timeout_seconds,
            retrieve_seconds=system.retrieve_timeout_seconds,
            extra_options=system.dcm4che_options,
        )

    def check(self, probed: Sequence[str] = _TOOLS) -> str:
        """See that each tool is there, and start some to see that they run; returns the version in their own words.

        Raises CannotStartError with what is missing and what to do.
        """
        for name in _TOOLS:
            launcher = self.folder / name
            if not launcher.is_file():
                near = self.folder / "bin" / name
                meant = f"; is {near.parent} meant?" if near.is_file() else ""
                raise CannotStartError(
                    f"{launcher} does not exist; set DCM4CHEBin in system.json to DCM4CHE's bin folder{meant}"
                )
            if not os.access(launcher, os.X_OK):
                raise CannotStartError(f"{launcher} is not executable; run: chmod +x {launcher}")
        if self.folder != _EMBEDDED and _java() is None:
            raise CannotStartError("Java was not found (JAVA_HOME and PATH); install Java 8 to 17 for DCM4CHE")
        launchers = [str(self.folder / name) for name in probed]
        probes = [_start([launcher, "-V"], self._environment()) for launcher in launchers]
        try:
            versions = [_version(launcher, probe) for launcher, probe in zip(launchers, probes, strict=True)]
        finally:
            for probe in probes:
                _kill(probe)
        return versions[0]

    def find(
        self, query_files: Sequence[Path], kind: FindKind, matches_folder: Path, *, cancel_after: int
    ) -> "Conversation":
        """One findscu: message N asks query file N; each match becomes a file ``match_name(n)`` in the folder.

        The matches are numbered from 1 over all queries, each written before the response after it is printed.
        """
        options = ["--relational"] if kind.relational else []
        command = [
            *self._connection("findscu", kind.patient_root), *options, "-L", kind.level.value, "-X",
            "--out-dir", str(matches_folder), "--out-file", "'match-'00000000'.xml'", "--cancel", str(cancel_after),
            "--response-timeout", _milliseconds(self.response_seconds),
        ]  # fmt: skip
        seconds = self.response_seconds + self.connect_seconds
        return Conversation(command, WrittenFiles(query_files), self._environment(), seconds)

    def move(self, feed: Feed, destination: str, *, patient_root: bool) -> "Conversation":
        """One movescu: message N moves the study that the feed's file N names to the destination AE."""
        # In the order of their tags: DCM4CHE's movescu looks them up by bisection and misses others.
        keys = [*(("SpecificCharacterSet", "PatientID") if patient_root else ()), "StudyInstanceUID"]
        command = [
            *self._connection("movescu", patient_root), *(option for key in keys for option in ("-i", key)),
            "-L", "STUDY", "--dest", destination, "--retrieve-timeout", _milliseconds(self.retrieve_seconds),
        ]  # fmt: skip
        return Conversation(command, feed, self._environment(), self.retrieve_seconds + self.connect_seconds)

    def receiver(
        self, directory: Path, file_path: str, accepted_calling_aets: Sequence[str], on_line: Callable[[str], None]
    ) -> "Receiver":
        """The storescp of this run, not yet started; ``on_line`` is given each line that it prints."""
        accept = [option for title in accepted_calling_aets for option in ("--accept", title)]
        command = [
            str(self.folder / "storescp"), "--accept-unknown", *accept, *self.extra_options.get("storescp", ()),
            "--directory", str(directory), "--filepath", file_path, "-b", self.calling_ae,
        ]  # fmt: skip
        return Receiver(command, self._environment(), on_line)

    def _connection(self, tool: str, patient_root: bool) -> list[str]:
        model = "PatientRoot" if patient_root else "StudyRoot"
        return [
            str(self.folder / tool), "-c", self.pacs, "-b", self.calling_ae, "-M", model,
            "--connect-timeout", _milliseconds(self.connect_seconds),
            "--accept-timeout", _milliseconds(self.connect_seconds),
            *self.extra_options.get(tool, ()),
        ]  # fmt: skip

    def _environment(self) -> dict[str, str]:
        log4j, logback = self.logging_folder / "log4j.properties", self.logging_folder / "logback.xml"
        if not logback.exists():
            log4j.write_text(_LOG4J)
            logback.write_text(_LOGBACK)
        java_options = [
            # The tools live for seconds: the first compiler and the serial collector start fastest (Java 8 to 17), but
            # a second choice of a collector would be an error.
            "-XX:TieredStopAtLevel=1",
            *([] if any("GC" in os.environ.get(name, "") for name in _JAVA_VARIABLES) else ["-XX:+UseSerialGC"]),
            # --out-file is formatted by Java in the machine's language; English has the digits 0 to 9.
            "-Duser.language=en",
            "-Dfile.encoding=UTF-8",
            # Log4j 1 up to 5.28, logback after it. As shipped both log patient data at DEBUG.
            f"-Dlog4j.configuration={log4j.as_uri()}",
            f"-Dlogback.configurationFile={logback.as_uri()}",
            os.environ.get("JAVA_OPTS", ""),
        ]
        return {
            **os.environ,
            "JAVA_OPTS": " ".join(java_options).strip(),
            "LC_ALL": "C.UTF-8",  # file names and output in every alphabet
            "NIFFLER_PYTHON": sys.executable,
        }


def tools_folder(dcm4che_bin: str) -> Path:
    """The folder of the launchers that the setting DCM4CHEBin names."""
    return _EMBEDDED if dcm4che_bin == "embedded" else Path(dcm4che_bin).expanduser()


def _version(launcher: str, probe: "subprocess.Popen[bytes]") -> str:
    """What a tool that was started with -V said; CannotStartError where it did not end well."""
    try:
        printed_bytes, _ = probe.communicate(timeout=_START_SECONDS)
    except subprocess.TimeoutExpired:
        _kill(probe)
        raise CannotStartError(f"{launcher} -V did not end within {_START_SECONDS:.0f} s; try it by hand") from None
    lines = printed_bytes.decode("utf-8", "replace").strip().splitlines()
    version = lines[0] if lines else ""
    if probe.returncode != 0:
        raise CannotStartError(
            f"{launcher} -V ended with exit code {probe.returncode}: {version or 'it printed nothing'}; check "
            "DCM4CHEBin in system.json and Java"
        )
    return version


def match_name(number: int) -> str:
    """The name of the file that findscu writes for the n-th match of a process."""
    return f"match-{number:08d}.xml"


class Conversation:
    """One findscu or movescu process: its requests over one association, the responses as they stream.

    Iterate ``responses()`` to its end, then read ``ending``. The thread that iterates must be the one that
    made the Conversation and has to live as long as the tool (PR_SET_PDEATHSIG follows the thread).
    """

    def __init__(
        self, command: Sequence[str], queries: QueryFiles, environment: Mapping[str, str], seconds: float
    ) -> None:
        self._queries = queries
        self._silence_seconds = seconds + _GRACE_SECONDS
        self._tool = Path(command[0]).name
        self._asked_to_stop = False
        self._process = _start([*command, "--not-async", *queries.names], environment, inherited=queries.inherited)
        self.ending = Ending()

    def responses(self) -> Iterator[Response]:
        """Every response, pending ones too, as it arrives."""
        in_association = released = is_over = False
        trouble = last_line = ""
        answered: set[int] = set()
        sent = 0
        try:
            for line in _lines(self._process, lambda: self._longest_silence(len(answered))):
                response = printed.response_in(line)
                if response is not None and 0 < response.message_id <= self._queries.given:
                    if not response.is_pending:
                        answered.add(response.message_id)
                    yield response
                    continue
                if not is_over:  # movescu announces the next request even after the association broke
                    sent = max(sent, printed.request_in(line) or 0)
                in_association = in_association or printed.accepts_association(line)
                released = released or printed.releases_association(line)
                # The tool's own words for it are about the file at which its feed ended.
                trouble = trouble or printed.trouble_in(line) or printed.loss_in(line)
                if released or trouble or printed.closes_connection(line):
                    is_over = True
                    self._queries.finish()  # else the tool would wait for the next, with no association to ask over
                if line and not line[0].isspace():
                    last_line = line
            exit_code = self._process.wait(_GOODBYE_SECONDS)
            trouble = trouble or f"{self._tool} ended with exit code {exit_code}: {last_line or 'it printed nothing'}"
        except (TimeoutError, subprocess.TimeoutExpired):
            trouble = trouble or f"{self._tool} said nothing for {self._longest_silence(len(answered)):.0f} s"
        finally:
            self.kill()
            self._queries.withdraw()
        if len(answered) == (sent if self._asked_to_stop else self._queries.given):
            trouble = ""
        first_open = next((number for number in range(1, sent + 1) if number not in answered), None)
        if trouble and released and first_open is None:
            first_open = sent + 1  # the association ended in good order: the tool could not use the next query file
        self.ending = Ending(trouble=trouble, under_way=first_open if in_association else None)

    def _longest_silence(self, answered: int) -> float:
        """Seconds: a PACS that does not answer A-RELEASE must not hold up a run whose answers are all there."""
        is_over = self._queries.is_closed and answered == self._queries.given
        return _GOODBYE_SECONDS if is_over else self._silence_seconds

    def finish(self) -> None:
        """No other request comes; the tool ends when those are answered that it has."""
        self._queries.finish()

    def stop_after_current(self) -> None:
        """Let the request under way finish and no other begin: the tool reads each query file when its turn comes."""
        self._asked_to_stop = True
        self._queries.withdraw()

    def kill(self) -> None:
        """End the process at once; the PACS may go on sending for a while."""
        _kill(self._process)


class Receiver:
    """The storescp that takes what the PACS sends; begin, see that it listens, watch it, end it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], on_line: Callable[[str], None]) -> None:
        self._command = command
        self._environment = environment
        self._on_line = on_line
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._listens = threading.Event()
        self.last_line = ""

    def begin(self) -> None:
        """Start it; it does not listen yet."""
        self._listens.clear()
        self.last_line = ""
        process = self._process = _start(self._command, self._environment)
        self._reader = threading.Thread(target=self._read, args=(process,), name="storescp output", daemon=True)
        self._reader.start()

    def listens(self) -> bool:
        """Wait until it listens; False where it ended instead (``last_line`` says why)."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._listens.wait(0.02):
            if not self.is_alive or time.monotonic() > deadline:
                self.stop()
                return False
        return True

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it and read the rest of its output."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            _kill(self._process)
        if self._reader is not None:
            self._reader.join(timeout=10)

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        for line in _lines(process):
            if printed.is_listening(line):
                self._listens.set()
            if line and not line[0].isspace() and not line.startswith("Try `"):
                self.last_line = printed.trouble_in(line) or line
            self._on_line(line)


def _start(
    command: Sequence[str], environment: Mapping[str, str], *, inherited: Sequence[int] = ()
) -> "subprocess.Popen[bytes]":
    # A tool whose parent is killed would live on, and movescu would move the rest of its files.
    setpriv = shutil.which("setpriv")
    leash = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
    try:
        return subprocess.Popen(
            [*leash, *command], env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,  # a Ctrl-C is for the script, which ends its tools
            pass_fds=inherited,
        )  # fmt: skip
    except OSError as error:
        raise CannotStartError(f"{command[0]} cannot be started: {error}; check DCM4CHEBin in system.json") from None


def _lines(process: "subprocess.Popen[bytes]", longest_silence: Callable[[], float] | None = None) -> Iterator[str]:
    """The lines of a tool as they come; TimeoutError where none came for so many seconds."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    rest = b""
    with selectors.DefaultSelector() as selector, process.stdout:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(longest_silence() if longest_silence else None):
                raise TimeoutError
            chunk = os.read(descriptor, 1 << 16)
            *whole, rest = (rest + chunk).split(b"\n")
            if rest and (not chunk or len(rest) > _LONGEST_LINE):
                whole, rest = [*whole, rest], b""
            for line in whole:
                yield line.decode("utf-8", "replace").rstrip("\r")
            if not chunk:
                return


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
