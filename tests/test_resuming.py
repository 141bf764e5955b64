"""Nothing is lost: a run that ends early, however it ends, is continued by the same command."""

import os
import pickle
import signal
import subprocess
from pathlib import Path

import pytest

from demo.studies import WrittenStudy, generate_studies
from tests.extraction import Extraction, all_instances, from_pacs, tools_running, wait_until
from tests.pacs import faults


@pytest.fixture
def studies(tmp_path: Path) -> tuple[WrittenStudy, ...]:
    return generate_studies(tmp_path / "studies", 8, instances=3, size=16)


def patients(extraction: Extraction, studies: tuple[WrittenStudy, ...]) -> None:
    extraction.write_list("EMPI", [[study.patient_id] for study in studies])


def test_a_run_that_is_killed_leaves_no_tool_running_and_goes_on_where_it_was(
    tmp_path: Path, studies: tuple[WrittenStudy, ...]
) -> None:
    running: list[subprocess.Popen[str]] = []
    with from_pacs(tmp_path) as (extraction, pacs):
        patients(extraction, studies)

        def kill() -> None:
            extraction.wait_until_it_says(": retrieved, ", times=3, seconds=15)
            running[0].kill()
            wait_until(lambda: tools_running(extraction.port) == [], seconds=5)

        pacs.script(faults.call(kill, "move", after=1).nth(4))
        running.append(extraction.start())
        assert running[0].wait() == -signal.SIGKILL
        assert tools_running(extraction.port) == []
        moved_before = pacs.moved()
        assert len(moved_before) == 4
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert extraction.words() == ["retrieved"] * 8
        assert set(extraction.instances()) == all_instances(studies)
        assert not list(extraction.storage.glob("*.part"))
        moved_again = [uid for uid in pacs.moved()[4:] if uid in moved_before]
        assert moved_again == moved_before[3:], "only the study that was under way is moved again"
        assert not extraction.state(".pickle.journal").exists()


def test_a_signal_ends_it_in_good_order_and_under_nohup_a_hangup_is_ignored(
    tmp_path: Path, studies: tuple[WrittenStudy, ...]
) -> None:
    with from_pacs(tmp_path, faults.slow("move", seconds=0.1)) as (extraction, pacs):
        patients(extraction, studies)
        endings = [
            (signal.SIGTERM, 143, ("nohup",)),
            (signal.SIGINT, 130, ()),
            (signal.SIGHUP, 129, ("env", "--default-signal=HUP")),
        ]
        moved: list[str] = []
        for number, exit_code, under in endings:
            process = extraction.start(under=under)
            extraction.wait_until_it_says(": retrieved, ")
            if "nohup" in under:
                process.send_signal(signal.SIGHUP)
                extraction.wait_until_it_says(": retrieved, ", times=2)
            process.send_signal(number)
            finished = extraction.finish(process)
            assert finished.exit_code == exit_code, finished.output
            assert (
                f"stopped by {number.name}; start the same command again to go on" in finished.output.splitlines()[-1]
            )
            assert "Traceback" not in finished.output
            assert not extraction.state(".pickle.journal").exists()
            retrieved = [uid for uid in pacs.moved() if any(uid in entry for entry in extraction.checkpoint())]
            assert not set(moved) & set(pacs.moved()[len(moved) :]), "what was retrieved is not moved again"
            assert retrieved == pacs.moved(), "what was under way was finished"
            assert sorted(extraction.words()) == ["pending"] * (8 - len(retrieved)) + ["retrieved"] * len(retrieved)
            moved = pacs.moved()
        assert len(moved) >= 4


def test_a_checkpoint_of_todays_niffler_is_continued_and_from_scratch_once_its_pickle_is_deleted(
    tmp_path: Path, studies: tuple[WrittenStudy, ...]
) -> None:
    uids = [study.study_instance_uid for study in studies[:4]]
    with from_pacs(tmp_path) as (extraction, pacs):
        patients(extraction, studies[:4])
        done = [studies[0].patient_id, studies[1].patient_id]
        extraction.state(".pickle").write_bytes(pickle.dumps(done))
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert set(pacs.moved()) == set(uids[2:])
        assert extraction.outcomes()[0]["Detail"] == "from an earlier checkpoint, not verified"
        assert extraction.checkpoint()[:2] == done
        assert set(extraction.checkpoint()) >= {study.patient_id for study in studies[:4]}
        warning, in_summary = [line for line in finished.output.splitlines() if "lists finished studies, but" in line]
        assert warning.startswith(f"WARNING:root:{extraction.state('.pickle')} lists")
        assert warning.endswith("delete the pickle to retrieve everything from scratch")
        assert in_summary == warning.replace("WARNING", "INFO", 1)

        extraction.state(".pickle").unlink()
        before = len(pacs.moved())
        finished = extraction.run()
        assert finished.exit_code == 0, finished.output
        assert sorted(pacs.moved()[before:]) == sorted(uids)
        assert [row["Detail"] for row in extraction.outcomes()] == [""] * 4
        assert "WARNING" not in finished.output


class RunsACommand:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    extraction = Extraction(tmp_path / "work")
    extraction.write_list("EMPI", [["1"]])
    content = pickle.dumps(["2", RunsACommand(tmp_path / "executed")])
    extraction.state(".pickle").write_bytes(content)
    finished = extraction.run()
    assert finished.exit_code == 2, finished.output
    assert f"ERROR:root:{extraction.state('.pickle')}: the checkpoint cannot be read" in finished.output
    assert not (tmp_path / "executed").exists()
    assert extraction.state(".pickle").read_bytes() == content
