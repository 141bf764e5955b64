"""How the DCM4CHE tools are started, and what is made of whatever they do; small scripts take their place."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from niffler import dcm4che
from niffler.dcm4che import Conversation, Receiver, Tools, match_name, tools_folder
from niffler.errors import CannotStartError
from niffler.feed import Feed
from niffler.vocabulary import Ending, FindKind, QueryLevel, Response
from tests.extraction import wait_until

ROOT = Path(__file__).resolve().parent.parent
TRANSCRIPTS = Path(__file__).with_name("transcripts")
VERSIONS = ("5.22.5", "5.34.3")
NAMES = ("storescp", "findscu", "movescu")
ABORTED = "A-ABORT[source: 0 - service-user, reason: 0]"
ASSOCIATED = "echo '09:00:00.000 INFO  - Q->P(1) >> A-ASSOCIATE-AC'\n"
LISTENING = "echo '09:00:00.000 INFO  - Start TCP Listener on 0.0.0.0/0.0.0.0:4243'\n"
SIT_THERE = "exec tail -f /dev/null\n"
NOTE_ARGUMENTS = 'printf "%s\\0" "$@" > "$0.arguments"\n'
NOTE_PID = 'echo $$ > "$0.new"\nmv "$0.new" "$0.pid"\n'

needs_setpriv = pytest.mark.skipif(
    shutil.which("setpriv") is None, reason="setpriv is not installed; get it with: apt-get install util-linux"
)


def request(number: int) -> str:
    return f"echo '09:00:00.000 INFO  - Q->P(1) << {number}:C-FIND-RQ[pcid=1, prior=0'\n"


def response(number: int, status: str = "0") -> str:
    return f"echo '09:00:00.000 INFO  - Q->P(1) >> {number}:C-FIND-RSP[pcid=1, status={status}H'\n"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """Tools whose folder is empty, on a machine that has Java."""
    for folder in ("bin", "logging", "java/bin"):
        (tmp_path / folder).mkdir(parents=True)
    put(tmp_path / "java" / "bin" / "java", "")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "java"))
    return Tools(
        folder=tmp_path / "bin", logging_folder=tmp_path / "logging", pacs="PACS@127.0.0.1:104",
        calling_ae="QBNIFFLER:4243", connect_seconds=5, response_seconds=30, retrieve_seconds=60, extra_options={},
    )  # fmt: skip


def put(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}")
    path.chmod(0o755)
    return path


def fill(tools: Tools, body: str) -> None:
    for name in NAMES:
        put(tools.folder / name, body)


def query_files(tools: Tools, count: int) -> list[Path]:
    files = [tools.logging_folder / f"{number}.query" for number in range(1, count + 1)]
    for file in files:
        file.touch()
    return files


def find(tools: Tools, body: str, queries: int = 1) -> Conversation:
    put(tools.folder / "findscu", body)
    return tools.find(query_files(tools, queries), FindKind(), tools.logging_folder, cancel_after=1001)


def converse(tools: Tools, body: str, queries: int = 1) -> tuple[list[Response], Ending]:
    """Have a findscu that does this, to its end."""
    conversation = find(tools, body, queries)
    responses = list(conversation.responses())
    return responses, conversation.ending


def started(receiver: Receiver) -> bool:
    receiver.begin()
    return receiver.listens()


def arguments_of(tools: Tools, name: str) -> list[str]:
    return (tools.folder / f"{name}.arguments").read_text().split("\0")[:-1]


def pid_of(tools: Tools, name: str) -> int:
    file = tools.folder / f"{name}.pid"
    wait_until(file.exists)
    return int(file.read_text())


def is_gone(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return True


def group_is_gone(group: int) -> bool:
    """Whether no process is left of those that a process with its own group started."""

    def group_of(pid: int) -> int:
        with contextlib.suppress(ProcessLookupError):
            return os.getpgid(pid)
        return 0

    return all(is_gone(pid) for pid in psutil.pids() if group_of(pid) == group)


# Are they there, and do they run


def test_tools_that_are_there_tell_their_version(tools: Tools) -> None:
    fill(tools, 'echo "${0##*/} 5.34.3"\n')
    assert tools.check() == "storescp 5.34.3"


def test_every_tool_is_asked_for_its_version_once(tools: Tools) -> None:
    fill(tools, NOTE_ARGUMENTS)
    tools.check()
    assert [arguments_of(tools, name) for name in NAMES] == [["-V"]] * 3


def test_a_tool_that_is_started_anyway_is_not_probed_but_has_to_be_there(tools: Tools) -> None:
    fill(tools, NOTE_ARGUMENTS)
    tools.check(("findscu", "movescu"))
    assert not (tools.folder / "storescp.arguments").exists()
    (tools.folder / "storescp").unlink()
    with pytest.raises(CannotStartError, match="does not exist"):
        tools.check(("findscu", "movescu"))


def test_the_embedded_tools_pass_the_check_without_java(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tools.folder))
    assert "embedded" in replace(tools, folder=tools_folder("embedded")).check()


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_tool_is_named_with_the_setting(tools: Tools, name: str) -> None:
    fill(tools, "")
    (tools.folder / name).unlink()
    with pytest.raises(CannotStartError, match=r"does not exist; set DCM4CHEBin in system\.json") as failure:
        tools.check()
    assert str(tools.folder / name) in str(failure.value)
    assert failure.value.exit_code == 3


@pytest.mark.parametrize("name", NAMES)
def test_a_tool_that_is_not_executable_is_named_with_what_to_do(tools: Tools, name: str) -> None:
    fill(tools, "")
    (tools.folder / name).chmod(0o644)
    with pytest.raises(CannotStartError) as failure:
        tools.check()
    assert str(failure.value) == f"{tools.folder / name} is not executable; run: chmod +x {tools.folder / name}"


def test_a_machine_without_java_is_told(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tools, "")
    monkeypatch.setenv("JAVA_HOME", str(tools.folder))
    with pytest.raises(CannotStartError, match="Java was not found"):
        tools.check()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tools.folder))
    with pytest.raises(CannotStartError, match="Java was not found"):
        tools.check()
    put(tools.folder / "java", "")
    tools.check()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("echo 'Error: no JVM' >&2\nexit 1\n", "ended with exit code 1: Error: no JVM"),
        ("exit 3\n", "ended with exit code 3: it printed nothing"),
        ("kill -SEGV $$\n", "ended with exit code -11"),
        ("printf '\\377\\376 broken\\n'\nexit 1\n", "ended with exit code 1"),
        ("yes | head -c 300000\nexit 1\n", "ended with exit code 1: y"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_a_tool_that_crashes_is_one_line_with_exit_code_and_output(
    tools: Tools, name: str, body: str, told: str
) -> None:
    fill(tools, "echo 5.34.3\n")
    put(tools.folder / name, body)
    with pytest.raises(CannotStartError) as failure:
        tools.check()
    assert f"{tools.folder / name} -V {told}" in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_tool_that_is_no_program_is_one_line(tools: Tools) -> None:
    fill(tools, "")
    (tools.folder / "findscu").write_bytes(b"\x7fELF garbage")
    with pytest.raises(CannotStartError, match="findscu") as failure:
        tools.check()
    assert "\n" not in str(failure.value)


def test_a_tool_that_hangs_is_not_waited_for_for_ever_and_leaves_no_process(
    tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dcm4che, "_START_SECONDS", 1.5)
    fill(tools, NOTE_PID + "tail -f /dev/null\n")  # a process below it, which holds its output open, too
    with pytest.raises(CannotStartError, match="-V did not end"):
        tools.check()
    groups = [pid_of(tools, name) for name in NAMES]
    wait_until(lambda: all(map(group_is_gone, groups)))


# How they are called


def test_findscu_is_called_with_its_query_files_last(tools: Tools) -> None:
    conversation = find(tools, NOTE_ARGUMENTS, queries=2)
    list(conversation.responses())
    files = [str(tools.logging_folder / f"{number}.query") for number in (1, 2)]
    assert arguments_of(tools, "findscu") == [
        "-c", "PACS@127.0.0.1:104", "-b", "QBNIFFLER:4243", "-M", "StudyRoot", "--connect-timeout", "5000",
        "--accept-timeout", "5000", "-L", "STUDY", "-X", "--out-dir", str(tools.logging_folder), "--out-file",
        "'match-'00000000'.xml'", "--cancel", "1001", "--response-timeout", "30000", "--not-async", *files,
    ]  # fmt: skip


def test_movescu_is_called_with_the_key_of_a_study_alone(tools: Tools) -> None:
    put(tools.folder / "movescu", NOTE_ARGUMENTS)
    feed = Feed(2)
    feed.finish()
    list(tools.move(feed, "DEST", patient_root=False).responses())
    assert arguments_of(tools, "movescu") == [
        "-c", "PACS@127.0.0.1:104", "-b", "QBNIFFLER:4243", "-M", "StudyRoot", "--connect-timeout", "5000",
        "--accept-timeout", "5000", "-i", "StudyInstanceUID", "-L", "STUDY", "--dest", "DEST", "--retrieve-timeout",
        "60000", "--not-async", *feed.names,
    ]  # fmt: skip


def test_in_the_patient_root_model_a_move_names_the_patient_in_its_character_set(tools: Tools) -> None:
    put(tools.folder / "movescu", NOTE_ARGUMENTS)
    list(tools.move(Feed(1), "DEST", patient_root=True).responses())
    words = arguments_of(tools, "movescu")
    assert words[words.index("-M") + 1] == "PatientRoot"
    keys = [after for before, after in itertools.pairwise(words) if before == "-i"]
    assert keys == ["SpecificCharacterSet", "PatientID", "StudyInstanceUID"], "movescu wants them in tag order"


def test_level_model_and_relational_queries_are_those_of_the_kind(tools: Tools) -> None:
    put(tools.folder / "findscu", NOTE_ARGUMENTS)
    kind = FindKind(QueryLevel.SERIES, relational=True, patient_root=True)
    list(tools.find(query_files(tools, 1), kind, tools.logging_folder, cancel_after=5).responses())
    words = arguments_of(tools, "findscu")
    assert "--relational" in words
    assert words[words.index("-L") + 1] == "SERIES"
    assert words[words.index("-M") + 1] == "PatientRoot"


def test_storescp_is_called_with_words_that_no_shell_has_read(tools: Tools) -> None:
    put(tools.folder / "storescp", NOTE_ARGUMENTS + LISTENING + SIT_THERE)
    directory, file_path = tools.logging_folder / "a b;$(touch x)", "{00100020}/$HOME `id`/{00080018}.dcm"
    receiver = tools.receiver(directory, file_path, ["ONE", "TWO"], print)
    assert started(receiver)
    receiver.stop()
    assert arguments_of(tools, "storescp") == [
        "--accept-unknown", "--accept", "ONE", "--accept", "TWO", "--directory", str(directory), "--filepath",
        file_path, "-b", "QBNIFFLER:4243",
    ]  # fmt: skip


def test_more_options_go_to_the_tool_that_they_are_for(tools: Tools) -> None:
    tools = replace(tools, extra_options={name: [f"--tls-{name}", "a b"] for name in NAMES})
    fill(tools, NOTE_ARGUMENTS)
    list(tools.find(query_files(tools, 1), FindKind(), tools.logging_folder, cancel_after=5).responses())
    list(tools.move(Feed(1), "DEST", patient_root=False).responses())
    assert not started(tools.receiver(tools.logging_folder, "x", [], print))
    for name in NAMES:
        words = arguments_of(tools, name)
        at = words.index(f"--tls-{name}")
        assert words[at + 1] == "a b"
        assert len([word for word in words if word.startswith("--tls")]) == 1


def test_java_is_told_to_log_at_info_in_english_and_utf_8(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_OPTS", "-Xmx64m")
    converse(tools, 'env > "$0.environment"\n')
    lines = (tools.folder / "findscu.environment").read_text().splitlines()
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    words = environment["JAVA_OPTS"].split()
    log4j, logback = tools.logging_folder / "log4j.properties", tools.logging_folder / "logback.xml"
    assert {
        "-Duser.language=en", "-Dfile.encoding=UTF-8", f"-Dlog4j.configuration={log4j.as_uri()}",
        f"-Dlogback.configurationFile={logback.as_uri()}", "-Xmx64m",
    } <= set(words)  # fmt: skip
    assert environment["LC_ALL"] == "C.UTF-8"
    assert environment["NIFFLER_PYTHON"] == sys.executable
    assert "rootLogger=INFO" in log4j.read_text()
    assert '<root level="INFO">' in logback.read_text()


def test_a_collector_that_the_user_chose_is_the_only_one(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    for chosen, collectors in (("", ["-XX:+UseSerialGC"]), ("-XX:+UseG1GC", ["-XX:+UseG1GC"])):
        monkeypatch.setenv("JAVA_OPTS", chosen)
        converse(tools, 'echo "$JAVA_OPTS" > "$0.options"\n')
        words = (tools.folder / "findscu.options").read_text().split()
        assert [word for word in words if "GC" in word] == collectors


def test_matches_are_named_as_the_pattern_makes_findscu_name_them() -> None:
    assert [match_name(1), match_name(12345678)] == ["match-00000001.xml", "match-12345678.xml"]


def test_the_setting_names_the_folder_of_the_tools() -> None:
    assert tools_folder("/opt/dcm4che/bin") == Path("/opt/dcm4che/bin")
    assert tools_folder("~/bin") == Path.home() / "bin"
    assert {path.name for path in tools_folder("embedded").iterdir()} == set(NAMES)


# What a conversation tells, played from recordings of the real tools

ENDINGS: dict[str, tuple[int, Ending]] = {
    "find-one-match": (1, Ending()),
    "find-two-matches": (1, Ending()),
    "find-no-match": (1, Ending()),
    "find-status-a700": (1, Ending()),
    "find-aborted-by-pacs": (1, Ending(ABORTED, 1)),
    "find-response-timeout": (1, Ending("1:DIMSE-RSP timeout expired", 1)),
    "find-connection-refused": (1, Ending("Connection refused", None)),
    "move-success-info-level": (1, Ending()),
    "move-two-studies-second-empty": (2, Ending()),
    "move-partial-b000": (1, Ending()),
    "move-unknown-destination-a801": (1, Ending()),
    # movescu announces the third although the association is gone: the second was under way.
    "move-three-studies-second-aborts-association": (3, Ending(ABORTED, 2)),
    "move-retrieve-timeout": (1, Ending("1:DIMSE-RSP timeout expired", 1)),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ENDINGS)
def test_a_recorded_conversation_ends_as_it_did(tools: Tools, version: str, name: str) -> None:
    queries, ending = ENDINGS[name]
    exit_code = 2 if ending.trouble else 0
    body = f"cat '{TRANSCRIPTS / version / name}.log'\nexit {exit_code}\n"
    assert converse(tools, body, queries)[1] == ending


@pytest.mark.parametrize("version", VERSIONS)
def test_a_rejected_association_says_why_and_nothing_was_under_way(tools: Tools, version: str) -> None:
    _, ending = converse(tools, f"cat '{TRANSCRIPTS / version / 'find-association-rejected.log'}'\nexit 2\n")
    assert ending.trouble.startswith("A-ASSOCIATE-RJ[result: 1 - rejected-permanent")
    assert "called-AE-title-not-recognized" in ending.trouble
    assert ending.under_way is None


# What a conversation tells, whatever the tool does


def test_responses_come_as_the_tool_prints_them(tools: Tools, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    conversation = find(tools, response(1, "ff00") + f"read line < '{gate}'\n" + response(1))
    responses = conversation.responses()
    assert next(responses) == Response(1, 0xFF00), "told while the tool still waits"
    gate.write_text("go on\n")
    assert list(responses) == [Response(1, 0)]
    assert conversation.ending == Ending()


@pytest.mark.parametrize(
    ("body", "trouble", "under_way"),
    [
        ("", "findscu ended with exit code 0: it printed nothing", None),
        ("exit 7\n", "findscu ended with exit code 7: it printed nothing", None),
        ("echo 'Error: Could not find or load main class'\nexit 1\n", "exit code 1: Error: Could not find", None),
        ("echo 'no such option'\necho '  at line 3'\nexit 2\n", "findscu ended with exit code 2: no such option", None),
        ("echo 'findscu: Unrecognized option: -x'\nexit 2\n", "Unrecognized option: -x", None),
        (ASSOCIATED + request(1) + "kill -SEGV $$\n", "findscu ended with exit code -11: 09:00:00", 1),
        (ASSOCIATED + request(1) + response(1) + request(2) + "kill -KILL $$\n", "ended with exit code -9", 2),
        (ASSOCIATED + request(1) + response(1, "ff00") + "exit 1\n", "findscu ended with exit code 1", 1),
        (request(1) + "exit 1\n", "findscu ended with exit code 1", None),
        (ASSOCIATED + "exit 1\n", "findscu ended with exit code 1", None),
        ("printf '\\377\\376\\n\\303('\nexit 1\n", "findscu ended with exit code 1: \N{REPLACEMENT CHARACTER}(", None),
        (ASSOCIATED + request(1) + response(7) + response(0) + "exit 2\n", "findscu ended with exit code 2", 1),
        ("printf 'no end of line'\n", "findscu ended with exit code 0: no end of line", None),
        ("printf 'findscu: Windows\\r\\n'\nexit 1\n", "Windows", None),
    ],
)
def test_a_tool_that_does_not_answer_leaves_a_reason_in_one_line(
    tools: Tools, body: str, trouble: str, under_way: int | None
) -> None:
    _, ending = converse(tools, body, queries=2)
    assert trouble in ending.trouble
    assert ending.trouble == ending.trouble.strip()
    assert ending.under_way == under_way


def test_random_bytes_between_the_lines_do_no_harm(tools: Tools) -> None:
    body = f"{ASSOCIATED}head -c 200000 /dev/urandom\necho\n{response(1)}"
    responses, ending = converse(tools, body)
    assert Response(1, 0) in responses
    assert ending == Ending()


def test_a_tool_that_says_nothing_is_ended(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dcm4che, "_GRACE_SECONDS", -33)  # of the 35 s that a query and its connection may take
    body = NOTE_PID + ASSOCIATED + request(1) + "tail -f /dev/null\n"
    responses, ending = converse(tools, body)
    assert responses == []
    assert ending.trouble == "findscu said nothing for 2 s"
    assert ending.under_way == 1
    assert is_gone(pid_of(tools, "findscu"))


def test_a_tool_that_has_answered_everything_and_does_not_end_is_no_trouble(
    tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dcm4che, "_GOODBYE_SECONDS", 0.3)
    for last in (SIT_THERE, "exec > /dev/null 2>&1\n" + SIT_THERE):
        responses, ending = converse(tools, NOTE_PID + ASSOCIATED + request(1) + response(1) + last)
        assert (responses, ending) == ([Response(1, 0)], Ending())
        assert is_gone(pid_of(tools, "findscu"))


def test_after_an_association_that_ended_in_good_order_the_next_query_file_is_to_blame(tools: Tools) -> None:
    released = "echo 'x INFO  - Q->P(1) << A-RELEASE-RQ'\necho 'findscu: 2.query: not XML'\nexit 2\n"
    responses, ending = converse(tools, ASSOCIATED + request(1) + response(1) + released, queries=3)
    assert responses == [Response(1, 0)]
    assert ending == Ending("2.query: not XML", 2)


@pytest.mark.parametrize(
    ("end", "trouble"),
    [
        (f" >> {ABORTED}", ABORTED),
        (": close Socket[addr=/127.0.0.1,port=104,localport=5]", "Sta1 - Idle"),
    ],
)
def test_a_request_that_is_announced_after_the_association_has_ended_was_not_under_way(
    tools: Tools, end: str, trouble: str
) -> None:
    body = f"{ASSOCIATED}{request(1)}{response(1)}echo 'x INFO  - Q->P(1){end}'\n{request(2)}"
    _, ending = converse(tools, f"{body}echo 'findscu: Sta1 - Idle'\nexit 2\n", queries=2)
    assert ending == Ending(trouble, None)


def test_an_abort_after_the_last_answer_is_no_trouble(tools: Tools) -> None:
    body = f"{ASSOCIATED}{request(1)}{response(1)}echo 'x INFO  - Q->P(1) >> {ABORTED}'\nexit 2\n"
    assert converse(tools, body) == ([Response(1, 0)], Ending())


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    output=st.lists(
        st.sampled_from(
            [b"x INFO  - Q->P(1) >> A-ASSOCIATE-AC\n", b"x INFO  - Q->P(1) << 1:C-FIND-RQ[pcid=1\n",
             b"x INFO  - Q->P(1) << 2:C-FIND-RQ[pcid=1\n", b"x INFO  - Q->P(1) >> 1:C-FIND-RSP[pcid=1, status=0H\n",
             b"x INFO  - Q->P(1) >> 2:C-FIND-RSP[pcid=1, status=c000H, errorComment=2:C-FIND-RSP[pcid=1, status=0H\n",
             b"x INFO  - Q->P(1) >> 1:C-FIND-RSP[pcid=1, status=ff00H\n", b"findscu: broken\n", b"\n", b"\xff\r\n"]
        ) | st.binary(max_size=20),
        max_size=8,
    ).map(b"".join),
    exit_code=st.sampled_from([0, 1, 2]),
)  # fmt: skip
def test_whatever_a_tool_prints_what_is_not_answered_is_trouble(tools: Tools, output: bytes, exit_code: int) -> None:
    (tools.folder / "output").write_bytes(output)
    responses, ending = converse(tools, f"cat '{tools.folder / 'output'}'\nexit {exit_code}\n", queries=2)
    answered = {one.message_id for one in responses if not one.is_pending}
    assert {one.status for one in responses if one.message_id == 2} <= {0xC000}
    assert bool(ending.trouble) == (answered != {1, 2})
    assert ending.under_way not in answered
    assert "\n" not in ending.trouble


# Stopping

IN_TURN = """import sys
gate, files = sys.argv[1], sys.argv[2:]
for number, file in enumerate(files, 1):
    try:
        open(file).close()
    except FileNotFoundError:
        sys.exit("findscu: " + file + " (No such file or directory)")
    print(f"x INFO  - Q->P(1) << {number}:C-FIND-RQ[pcid=1", flush=True)
    opening = ""
    while not opening:  # the writer before may still be at the gate, and its end is no opening
        with open(gate) as opened:
            opening = opened.readline()
    print(f"x INFO  - Q->P(1) >> {number}:C-FIND-RSP[pcid=1, status=0H", flush=True)
"""


@pytest.fixture
def in_turn(tools: Tools, tmp_path: Path) -> Iterator[tuple[Conversation, Callable[[Callable[[], None]], None]]]:
    """A findscu with three queries that answers each when the gate is opened; what is done at the gate is given."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (tmp_path / "in_turn.py").write_text(IN_TURN)
    files = [str(tools.logging_folder / f"{number}.query") for number in (1, 2, 3)]
    words = " ".join(f"'{word}'" for word in (sys.executable, tmp_path / "in_turn.py", gate, *files))
    conversation = find(tools, f"{ASSOCIATED}exec {words}\n", queries=3)

    def at_gate(do: Callable[[], None]) -> None:
        # It opens when the tool has sent its request and waits for the answer.
        with contextlib.suppress(BrokenPipeError), gate.open("w") as opened:
            do()
            opened.write("answer\n")

    yield conversation, at_gate
    conversation.kill()


InTurn = tuple[Conversation, Callable[[Callable[[], None]], None]]


def nothing() -> None:
    pass


def test_query_files_are_answered_one_after_the_other(in_turn: InTurn) -> None:
    conversation, at_gate = in_turn
    responses = conversation.responses()
    for number in (1, 2, 3):
        at_gate(nothing)
        assert next(responses) == Response(number, 0)
    assert list(responses) == []
    assert conversation.ending == Ending()


def test_asked_to_stop_the_request_under_way_is_answered_and_no_other_begins(in_turn: InTurn) -> None:
    conversation, at_gate = in_turn
    responses = conversation.responses()
    at_gate(nothing)
    assert next(responses) == Response(1, 0)
    at_gate(conversation.stop_after_current)
    assert list(responses) == [Response(2, 0)]
    assert conversation.ending == Ending(), "to stop when asked is no trouble"


def test_a_break_while_stopping_is_still_trouble(in_turn: InTurn) -> None:
    conversation, at_gate = in_turn

    def stop_and_break() -> None:
        conversation.stop_after_current()
        conversation.kill()

    at_gate(stop_and_break)
    assert list(conversation.responses()) == []
    assert conversation.ending.trouble.startswith("findscu ended with exit code -9")
    assert conversation.ending.under_way == 1


def test_a_killed_conversation_ends_at_once_with_what_was_under_way(in_turn: InTurn) -> None:
    conversation, at_gate = in_turn
    responses = conversation.responses()
    at_gate(nothing)
    assert next(responses) == Response(1, 0)
    at_gate(conversation.kill)
    assert list(responses) == []
    assert conversation.ending.trouble
    assert conversation.ending.under_way == 2


def test_a_conversation_that_is_left_early_leaves_no_process(tools: Tools) -> None:
    conversation = find(tools, NOTE_PID + response(1, "ff00") + "tail -f /dev/null\n")
    responses = conversation.responses()
    next(responses)
    responses.close()  # type: ignore[attr-defined]
    assert is_gone(pid_of(tools, "findscu"))


@needs_setpriv
def test_a_tool_that_is_gone_when_it_is_needed_is_trouble_of_the_conversation(tools: Tools) -> None:
    conversation = tools.find(query_files(tools, 1), FindKind(), tools.logging_folder, cancel_after=5)
    assert list(conversation.responses()) == []
    assert "findscu: No such file or directory" in conversation.ending.trouble
    assert conversation.ending.under_way is None


def test_without_setpriv_a_tool_that_cannot_be_started_is_an_error_in_one_line(
    tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tools.folder))
    for problem in ("No such file or directory", "Permission denied"):
        with pytest.raises(CannotStartError, match=f"cannot be started: .*{problem}.*; check DCM4CHEBin") as failure:
            tools.find(query_files(tools, 1), FindKind(), tools.logging_folder, cancel_after=5)
        assert "\n" not in str(failure.value)
        put(tools.folder / "findscu", "").chmod(0o644)


# The receiver


def receive(tools: Tools, body: str, lines: list[str]) -> Receiver:
    put(tools.folder / "storescp", body)
    return tools.receiver(tools.logging_folder, "{00080018}", [], lines.append)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_receiver_has_started_when_it_listens_and_tells_every_line(tools: Tools, version: str) -> None:
    recording = TRANSCRIPTS / version / "storescp-session-info-level.log"
    lines: list[str] = []
    receiver = receive(tools, f"cat '{recording}'\n{SIT_THERE}", lines)
    assert started(receiver)
    assert receiver.is_alive
    receiver.stop()
    assert not receiver.is_alive
    assert [line for line in lines if line] == recording.read_text().splitlines()
    assert receiver.last_line.endswith("<< A-RELEASE-RP")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_receiver_whose_port_is_taken_has_not_started_and_says_why(tools: Tools, version: str) -> None:
    recording = TRANSCRIPTS / version / "storescp-port-in-use.log"
    receiver = receive(tools, f"cat '{recording}'\nexit 2\n", [])
    assert not started(receiver)
    assert not receiver.is_alive
    assert "Address already in use" in receiver.last_line


@pytest.mark.parametrize("body", ["", "exit 1\n", "kill -SEGV $$\n", "printf '\\377\\376'\n"])
def test_a_receiver_that_crashes_has_not_started(tools: Tools, body: str) -> None:
    assert not started(receive(tools, body, []))


def test_a_receiver_that_never_listens_has_not_started_and_is_ended(
    tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dcm4che, "_START_SECONDS", 1.5)
    receiver = receive(tools, NOTE_PID + "echo 'still thinking'\n" + SIT_THERE, [])
    assert not started(receiver)
    assert is_gone(pid_of(tools, "storescp"))
    assert receiver.last_line == "still thinking"


def test_a_receiver_that_died_can_be_started_again(tools: Tools) -> None:
    lines: list[str] = []
    receiver = receive(tools, NOTE_PID + LISTENING + SIT_THERE, lines)
    assert started(receiver)
    os.kill(pid_of(tools, "storescp"), signal.SIGKILL)
    wait_until(lambda: not receiver.is_alive)
    receiver.stop()
    assert started(receiver)
    assert receiver.is_alive
    receiver.stop()
    put(tools.folder / "storescp", "exit 1\n")
    assert not started(receiver)
    assert receiver.last_line == "", "what an earlier one said is no reason of this one"
    assert len([line for line in lines if line]) == 2


def test_stopping_a_receiver_ends_what_it_started_itself(tools: Tools) -> None:
    receiver = receive(tools, NOTE_PID + LISTENING + "tail -f /dev/null\n", [])
    assert started(receiver)
    group = pid_of(tools, "storescp")
    receiver.stop()
    wait_until(lambda: group_is_gone(group))


def test_a_receiver_that_is_stopped_has_told_all_its_lines(tools: Tools) -> None:
    lines: list[str] = []

    def read_late(line: str) -> None:
        lines.append(line)
        if line == "1":
            wait_until(lambda: not receiver.is_alive)

    wait_for_signal = 'mkfifo "$0.fifo"\nexec 3<> "$0.fifo"\n' + LISTENING + "read line <&3\n"
    put(tools.folder / "storescp", f"trap 'seq 1000; exit' TERM\n{wait_for_signal}")
    receiver = tools.receiver(tools.logging_folder, "{00080018}", [], read_late)
    assert started(receiver)
    receiver.stop()
    assert [line for line in lines if line][1:] == [str(number) for number in range(1, 1001)]


def test_a_line_without_end_is_told_in_pieces(tools: Tools) -> None:
    lines: list[str] = []
    receiver = receive(tools, f"head -c 2500000 /dev/zero\necho\n{LISTENING}{SIT_THERE}", lines)
    assert started(receiver)
    receiver.stop()
    assert sum(map(len, lines[:-1])) == 2500000
    assert max(map(len, lines)) < 1500000


def test_stopping_a_receiver_that_was_never_started_does_nothing(tools: Tools) -> None:
    receiver = receive(tools, "", [])
    receiver.stop()
    assert not receiver.is_alive


# Tools die with the run

HAVE_TOOL = """
import os, sys
from pathlib import Path
from niffler.dcm4che import Conversation, Receiver
from niffler.feed import WrittenFiles
tool, kind = sys.argv[1:]
if kind == "conversation":
    conversation = Conversation([tool], WrittenFiles([]), dict(os.environ), 600)
    list(conversation.responses())
else:
    receiver = Receiver([tool], dict(os.environ), print)
    receiver.begin()
    sys.stdin.read()
"""


@needs_setpriv
@pytest.mark.parametrize("kind", ["conversation", "receiver"])
def test_a_tool_dies_with_its_parent_when_that_is_killed(tools: Tools, kind: str) -> None:
    # sleep, unlike tail, does not notice that nobody reads its output any more.
    tool = put(tools.folder / "movescu", LISTENING + NOTE_PID + "exec sleep 600\n")
    parent = subprocess.Popen(
        [sys.executable, "-c", HAVE_TOOL, str(tool), kind], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    pid = pid_of(tools, "movescu")
    assert not is_gone(pid)
    parent.kill()
    parent.communicate()
    try:
        wait_until(lambda: is_gone(pid), seconds=10)
    finally:
        if not is_gone(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_tool_is_not_reached_by_the_ctrl_c_of_the_terminal(tools: Tools) -> None:
    conversation = find(tools, NOTE_PID + SIT_THERE)
    pid = pid_of(tools, "findscu")
    assert os.getpgid(pid) == pid != os.getpgid(0)
    assert os.getsid(pid) == pid
    conversation.kill()
    list(conversation.responses())
