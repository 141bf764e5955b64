#!/usr/bin/env python3
"""Retrieve the studies that the rows of a CSV ask for from a PACS, and say what became of every row.

Read from ``main`` downwards: what is checked before anything starts, how rows become C-FIND and C-MOVE requests, what
is done about each answer, and how a run ends. The rooms of ``niffler/`` know how each of these is done.
"""

from niffler import first  # noqa: F401

# isort: split
import contextlib
import logging
import math
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import schedule

from niffler import outcomes, signals, slots
from niffler.account import Account
from niffler.advice import advice_on_silence, what_to_check
from niffler.agenda import Agenda, Decided, Finished
from niffler.arrivals import Arrival, Arrived, CaughtUp, OnDisk
from niffler.associations import Answered, Association, Broke, Ended, Heard
from niffler.books import Books
from niffler.checkpoint import Checkpoint, read_other_splits
from niffler.connections import Connections, DiskFull, Reception
from niffler.dcm4che import Tools
from niffler.errors import (
    CannotStartError,
    GaveUpError,
    NifflerError,
    OutsideWindowError,
    StoppedError,
)
from niffler.inquiries import Inquiries, Ticket
from niffler.known import begun_rows, carried_rows
from niffler.lasting import made_to_last
from niffler.listening import Listening
from niffler.log import start_log
from niffler.lookup import LookupRules, plan
from niffler.manifest import study_entries
from niffler.metadata import BRIEF_COLUMNS, OUTPUT_NAME, MetadataFile, columns_of
from niffler.night import Window, in_local_time
from niffler.part import read_part
from niffler.progress import in_bytes, in_hours
from niffler.recount import STUDIES_IN_A_LIST, Recounts
from niffler.report import report_html
from niffler.retry import ALIKE_ENDINGS, Breaker, Patience, Portion, Remedy, remedy
from niffler.run_state import Activity, Amount
from niffler.settings import InformationModel, Mode, Settings, Task
from niffler.settings_files import list_to_watch, read_settings
from niffler.shards import modified_csv, of_shard, other_splits, titled
from niffler.status import in_words, without_comments
from niffler.storage import is_empty, missing_folders, open_storage, remove_parts
from niffler.telling import Standing, Teller
from niffler.transfers import Transfers
from niffler.unrequested import Unrequested
from niffler.verdict import judge
from niffler.vocabulary import (
    ANSWERED,
    PENDING,
    FindKind,
    Lookup,
    Match,
    Outcome,
    QueryAnswer,
    Response,
    RowResult,
    Study,
    StudyResult,
)
from niffler.worklist import columns_asked, rows_by_request, write_modified_csv

MOST_MATCHES = 1000
"""A query is cancelled after so many matches, or MaxStudiesPerRow where that is more."""
MOST_MATCHES_IN_FIND_MODES = 100_000
IDLE_SECONDS = 0.7
"""How long a C-MOVE association waits for another study to be looked up."""
START_SECONDS = 1.0
"""About what it takes to start movescu: another one is not started for less work."""
QUICK_SECONDS = 2.0
"""A study that takes longer is large: nothing is to wait behind it that could be moved over another association."""
RECOUNT_SECONDS = 60.0
"""So long at most do retrieved studies wait for company before the PACS is asked whether it has more of them now."""
STOP_GRACE_SECONDS = 5.0
"""How long a study under way may go on when the run is asked to stop; ``docker stop`` kills after ten seconds."""
PASS_PAUSE_SECONDS = 2.0
"""Before what failed is tried again: some troubles of a PACS heal by themselves."""
DESTINATION_UNKNOWN = 0xA801


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one extraction; returns the exit code that the README explains."""
    try:
        script = Path(__file__).resolve()
        words = sys.argv[1:] if arguments is None else arguments
        if watched := list_to_watch(words, beside=script.parent):
            from niffler.looks import status

            return status.show(watched.csv_file, watched.shard, is_redrawn=watched.is_redrawn)
        settings = read_settings(words, beside=script.parent)
        if settings.task is not Task.EXTRACT:
            return look(settings)
        start_log(of_shard(Path(f"niffler{settings.system.niffler_id}.log"), settings.shard))
    except NifflerError as failure:
        sys.stderr.write(f"{failure}\n")
        return failure.exit_code
    system = settings.system
    try:
        with (
            slots.claim_slot(str(system.src_aet), system.max_niffler_processes, party=party_of(settings)) as running,
            claimed_files(settings),
        ):
            logging.info(running.in_words)
            title = titled(str(settings.csv_file), settings.shard)
            logging.info("[EXTRACTION START] %s: %s from %s", datetime.now(), title, system.src_aet)
            return Extraction(settings).run()
    except slots.SlotTakenError as refusal:
        logging.info(refusal.running.in_words)
        logging.error(str(refusal))
        logging.info(refusal.why)
        return refusal.exit_code
    except NifflerError as failure:
        for line in str(failure).splitlines():
            logging.error(line)
        return failure.exit_code


def party_of(settings: Settings) -> str:
    """Who may use the PACS together: the shards of one list. A run without a shard has it alone."""
    return str(settings.csv_file.resolve()) if settings.shard else ""


@contextlib.contextmanager
def claimed_files(settings: Settings) -> Iterator[None]:
    """What no other run on this machine may work on: the list but for its other shards, the output, the AE title."""
    shard = settings.shard
    with contextlib.ExitStack() as held:
        held.enter_context(slots.claim_list(settings.csv_file, shard))
        if shard and settings.receives_here:
            held.enter_context(slots.claim_receiving(settings.system.dest_aet))
        if settings.mode is not Mode.RETRIEVE:
            held.enter_context(slots.claim_file(of_shard(settings.storage_folder / OUTPUT_NAME, shard)))
        yield


def look(settings: Settings) -> int:
    """Look at an extraction without being one; returns the exit code.

    Looks are imported when they are wanted: an extraction starts sooner without their libraries.
    """
    from niffler.looks import dry_run, report, verify

    match settings.task:
        case Task.REPORT:
            return report.run(settings)
        case Task.VERIFY:
            return verify.run(settings)
        case Task.DRY_RUN:
            return dry_run.run(settings)
        case _:
            raise AssertionError(settings.task)


class Extraction:
    """One run over one list. All of its state belongs to the main thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.system = settings.system
        self.retrieves = settings.mode is Mode.RETRIEVE
        self.receives_here = settings.receives_here
        self.patient_root = settings.system.information_model is InformationModel.PATIENT_ROOT
        self.connections = Connections()
        self.window = Window(self.system.start_hour, self.system.end_hour)
        self.patience = Patience(self.system.give_up_minutes * 60)
        self.endings, self.attempts = Breaker(), Breaker()
        self.listening: Listening | None = None
        self.on_disk = OnDisk()
        self.transfers = Transfers()
        self.remarks: list[str] = []
        self.to_list: list[Match] = []
        self.to_say: list[str] = []
        self.has_served = False
        self.resume_at = self.begin_at = 0.0
        self.recount_since = math.inf
        self.is_open = True
        self.has_been_open = False
        self.shut_at = 0.0
        self.started = time.monotonic()
        nights = self.window if self.system.nightly_only else None
        self.teller = Teller(settings.mode, settings.modified_csv, nights)
        self.is_stopping = False
        self.reason: NifflerError | None = None

    # The run, top to bottom

    def run(self) -> int:
        """Prepare, work until every row has its outcome, report; returns the exit code."""
        for warning in self.settings.warnings:
            logging.warning(warning)
        with (
            tempfile.TemporaryDirectory(prefix=slots.PRIVATE_FOLDER) as folder,
            signals.stopping(self.stop),
            self.telling(),
        ):
            self.read_list()
            self.check_machine(Path(folder))
            self.take_up_checkpoint()
            try:
                with self.connect(Path(folder)):
                    if not self.retrieves:
                        self.metadata.begin(self.checkpoint.recorded_output_size)
                    self.checkpoint.begin()
                    self.work()
            except (GaveUpError, OutsideWindowError, StoppedError) as reason:
                return self.finish(reason)
            except NifflerError:
                raise
            except Exception as bug:
                # Its text may quote a patient's values, and this line goes into the log and the email.
                self.finish(GaveUpError(f"an error in Niffler itself ({type(bug).__name__}); please report it"))
                raise
            return self.finish(None)

    @made_to_last()
    def read_list(self) -> None:
        """CSV → requests; the modified CSV shows each row as it will be queried."""
        settings = self.settings
        self.worklist = read_part(settings)
        for warning in self.worklist.warnings:
            logging.warning(warning)
        self.modified = settings.modified_csv
        write_modified_csv(self.modified, self.worklist, columns_asked(settings))
        self.rows_of = rows_by_request(self.worklist)
        logging.info(
            "%s: rows %d, different requests %d, invalid rows %d",
            titled(str(settings.csv_file), settings.shard), len(self.worklist.table), len(self.worklist.requests),
            len(self.worklist.faults),
        )  # fmt: skip
        for row in self.worklist.faults:
            logging.info(outcomes.row_line(self.worklist.lines[row], RowResult(Outcome.INVALID)))

    def check_machine(self, folder: Path) -> None:
        """The tools run, nothing of a dead run is left, the storage is there."""
        system, settings = self.system, self.settings
        self.tools = Tools.of(system, folder)
        self.tools_version = self.tools.check(("findscu", "movescu"))  # storescp shows it when it is started
        logging.info("DCM4CHE: %s", self.tools_version)
        slots.remove_private_folders()
        leftovers = slots.leftover_tools(str(system.query_aet), str(system.src_aet))
        for tool in leftovers:
            if not tool.mine:
                raise CannotStartError(
                    f"{tool.name} (process {tool.pid}) of user {tool.user} still runs as {system.query_aet}; make sure "
                    f"that nobody needs it, then run: sudo kill {tool.pid}"
                )
            logging.info("ending %s (process %d), left over from an extraction that was killed", tool.name, tool.pid)
        slots.end_processes([tool.pid for tool in leftovers])
        self.storage = open_storage(settings.storage_folder, system.min_free_disk_gb)
        is_shared = settings.shares_storage or slots.receives_into(settings.storage_folder)
        if self.receives_here and not is_shared and (parts := remove_parts(settings.storage_folder)):
            logging.info("%s: removed %d .part files of a dead receiver", settings.storage_folder, parts)

    @made_to_last()
    def take_up_checkpoint(self) -> None:
        """What earlier runs completed is carried over; what is left becomes the agenda."""
        settings, requests = self.settings, self.worklist.requests
        columns: tuple[str, ...] = ()
        if self.retrieves:
            self.checkpoint = Checkpoint(self.modified)
        else:
            columns = BRIEF_COLUMNS if settings.mode is Mode.FIND_ONLY else columns_of(settings.stylesheet)
            self.metadata = MetadataFile(of_shard(settings.storage_folder / OUTPUT_NAME, settings.shard), columns)
            self.metadata.check()
            self.checkpoint = Checkpoint(self.metadata.path, output=self.metadata.path)
        self.unrequested = Unrequested(self.modified, continues=self.retrieves and self.checkpoint.continues)
        whole = modified_csv(settings.csv_file) if self.retrieves else settings.storage_folder / OUTPUT_NAME
        others = read_other_splits(whole, settings.shard, are_outputs=not self.retrieves)
        for output in () if self.retrieves else other_splits(whole, settings.shard):
            MetadataFile(output, columns).check()
        if others:
            logging.info("%s: %d checkpoints of other splits of the list are looked into", whole.parent, len(others))
        self.books = Books(self.checkpoint, others)
        self.results: list[RowResult] = [PENDING] * len(requests)
        is_begun = bool(self.checkpoint.entries or others)
        carried = carried_rows(self.books, requests, retrieves=self.retrieves) if is_begun else {}
        for index, result in carried.items():
            self.results[index] = result
        wanted = [index for index, result in enumerate(self.results) if result is PENDING]
        # Verified, but the run before ended before it asked the PACS again whether there is more: that is asked now.
        begun = begun_rows(self.books, requests, wanted) if is_begun else {}
        self.begun = set(begun)
        for index, verified in begun.items():
            self.results[index] = verified
        done = Counter({Outcome.INVALID: len(self.worklist.faults)})
        for index in (*carried, *self.begun):
            done[self.results[index].outcome] += len(self.rows_of(index))
        if carried:
            rows = sum(len(self.rows_of(index)) for index in carried)
            logging.info("%s: %d rows are complete already", self.checkpoint.path, rows)
        if self.receives_here and (warning := self.warning_of_storage()):
            self.remarks.append(warning)
            logging.warning(warning)
        self.agenda = Agenda(plan(requests, wanted, patient_root=self.patient_root), self.system.max_attempts)
        most_studies = self.system.max_studies_per_row if self.retrieves else None
        rules = LookupRules(self.patient_root, columns, most_studies, self.most_matches)
        self.inquiries = Inquiries(requests.__getitem__, rules)
        self.recounts = Recounts(LookupRules(self.patient_root, (), None, self.most_matches))
        self.queries, self.moves = (
            Portion(self.system.queries_per_association), Portion(self.system.retrievals_per_association)
        )  # fmt: skip
        self.account = Account(settings, self.modified, self.worklist.lines, self.tools_version)
        self.account.begin(continues=self.checkpoint.continues)
        self.studies_before = self.books.verified_studies
        self.teller.begin(len(self.worklist.table), done)

    def warning_of_storage(self) -> str:
        """Whether the images of what is complete seem to be gone; empty where all is well."""
        folder = self.settings.storage_folder
        remedy = "they are not retrieved again; delete the pickle to retrieve everything from scratch"
        if is_empty(folder) and (self.books.studies or self.books.earlier_entries):
            return f"{self.checkpoint.path} lists finished studies, but {folder} is empty; {remedy}"
        looked_at, missing = missing_folders(folder, self.settings.file_path, self.books.studies)
        if not missing:
            return ""
        return f"{missing} of {looked_at} finished studies that were looked for have no folder in {folder}; {remedy}"

    @contextlib.contextmanager
    def connect(self, folder: Path) -> Iterator[None]:
        """The receiver listens, the associations can be made; all of them end however the run ends."""
        system, settings = self.system, self.settings
        with contextlib.ExitStack() as ending:
            if self.receives_here:
                reception = Reception(
                    settings.storage_folder, settings.file_path, system.accepted_calling_aets,
                    of_shard(Path("storescp.out"), settings.shard), system.log_megabytes,
                )  # fmt: skip
                receiver = ending.enter_context(self.connections.receiving(self.tools, reception))
                self.listening = Listening(receiver, system.query_aet)
                self.listening.begin()
                logging.info("images go to %s", settings.storage_folder)
            elif self.retrieves:
                logging.info(
                    "DestAet %s is not the AE of QueryAet %s: the receiver is external, no storescp is started, and "
                    "what arrives there is not checked; if that is not meant, set DestAet to %s",
                    system.dest_aet, system.query_aet, system.query_aet.ae_title,
                )  # fmt: skip
            ending.enter_context(
                self.connections.associating(
                    self.tools,
                    folder,
                    movers=system.parallel_retrievals if self.retrieves else 0,
                    most_moves=system.retrievals_per_association,
                    destination=system.dest_aet,
                    patient_root=self.patient_root,
                    most_matches=self.most_matches,
                )
            )
            yield

    @property
    def most_matches(self) -> int:
        """A query that matches more is cancelled."""
        return max(self.system.max_studies_per_row, MOST_MATCHES) if self.retrieves else MOST_MATCHES_IN_FIND_MODES

    # The work

    def work(self) -> None:
        """Hand out work and take in what the PACS answers, until every request has its result."""
        jobs = self.planned_jobs()
        turn = time.monotonic()
        try:
            while not self.is_done():
                now = time.monotonic()
                self.teller.worked((now - turn) * self.is_open)
                turn = now
                self.keep_watch()
                if (jobs.idle_seconds or 0) > 600:  # the clock was set back, and schedule keeps wall clock time
                    jobs = self.planned_jobs()
                jobs.run_pending()
                self.hand_out()
                if self.listening is not None:
                    self.listening.wait()  # here, as it starts while the first C-FIND is under way
                self.teller.tell(self.activity(), self.standing)
                self.take_in(self.connections.next_events(self.longest_wait()))
        finally:
            self.end_associations()

    def planned_jobs(self) -> schedule.Scheduler:
        """What is done every few minutes."""
        jobs = schedule.Scheduler()
        if self.retrieves:
            jobs.every(4).seconds.do(self.prepare_account)
        jobs.every(5).minutes.do(self.checkpoint.save)
        jobs.every(10).minutes.do(self.say_progress)
        jobs.every(10).minutes.do(self.write_outcomes_and_report)
        return jobs

    def prepare_account(self) -> type[schedule.CancelJob]:
        """Get ready to draw the report while the PACS works; once."""
        self.account.prepare_aside()
        return schedule.CancelJob

    def is_done(self) -> bool:
        """Whether nothing is left to do; begins the next pass where something failed in this one."""
        is_busy = self.connections.are_busy or self.transfers.are_settling or self.recounts.are_open
        if is_busy or self.inquiries.open_groups or self.agenda.has_fresh_work:
            return False
        if not self.agenda.has_another_pass:
            return True
        self.agenda.begin_pass()
        self.pause(PASS_PAUSE_SECONDS)
        return False

    def keep_watch(self) -> None:
        """Everything that can end or hold the run: a reason to stop, the disk, the receiver's death, the window."""
        if self.reason is not None:
            raise self.reason
        self.storage.check()
        if self.listening is not None:
            self.listening.go_on()
        self.watch_progress()
        now = datetime.now()
        is_open = not self.system.nightly_only or self.window.is_open(now)
        if self.is_open and not is_open:
            opening = in_local_time(self.window.next_opening(now))
            logging.info("the nightly window is shut; no other study is begun before %s (NightlyOnly)", opening)
            for association in self.connections.all:
                association.stop_after_current()
            self.write_outcomes_and_report()
            if self.settings.morning_email and self.has_been_open:
                self.send_morning_email(opening)
            self.shut_at = time.monotonic()
        elif is_open and not self.is_open:
            logging.info("the nightly window is open until %s", in_local_time(self.window.next_closing(now)))
            self.patience.was_not_needed(time.monotonic() - self.shut_at)
        self.is_open = is_open
        self.has_been_open = self.has_been_open or is_open
        is_busy = self.connections.are_busy or self.transfers.are_settling
        if not is_open and self.settings.exit_outside_window and not is_busy:
            opening = in_local_time(self.window.next_opening(now))
            raise OutsideWindowError(f"the nightly window is shut; start the same command again at {opening}")

    def watch_progress(self) -> None:
        """Break off a C-MOVE that says again and again that it is pending and brings nothing."""
        for association in self.transfers.stalled(self.system.retrieve_timeout_seconds):
            logging.warning(
                "no image and no other count for %d s (RetrieveTimeoutSeconds): C-MOVE is broken off and tried again",
                self.system.retrieve_timeout_seconds,
            )
            association.kill()

    def hand_out(self) -> None:
        """Give each association its next requests, unless the window is shut or the PACS needs a pause."""
        is_pausing = time.monotonic() < self.resume_at
        self.release_idle(is_pausing=is_pausing)
        if not self.is_open or is_pausing:
            return
        for finder in self.connections.finders:
            if not finder.is_busy and self.may_begin:
                self.begin_lookups()
                most = self.queries.now
                tickets = self.inquiries.take(most)
                tickets += self.recounts_to_ask(most - len(tickets), tickets[0].query.kind if tickets else None)
                if tickets:
                    finder.begin(tickets)
        movers = self.connections.movers
        for mover in sorted(movers, key=lambda mover: not mover.is_busy):  # those that run already first
            self.hand_study_to(mover, in_hand=0)
        are_quick = self.transfers.usual_seconds < QUICK_SECONDS and not self.attempts.is_counting
        if self.agenda.studies_waiting > len(movers) and are_quick:
            for mover in movers:  # one in reserve, so that none waits for this loop
                if mover.seconds_at < QUICK_SECONDS:
                    self.hand_study_to(mover, in_hand=1)

    def hand_study_to(self, mover: Association[Study, Response], in_hand: int) -> None:
        """Give an association its next study if it has so many in hand and can take one."""
        if mover.pending != in_hand or not self.agenda.studies_waiting:
            return
        if not mover.is_busy and not (self.may_begin and self.is_worth_starting()):
            return
        [study] = self.agenda.next_studies(1)
        self.on_disk.expect(study.study_instance_uid, study.patient_id)
        if not mover.is_busy:
            mover.begin([study])
        elif mover.given >= self.moves.now or not mover.add(study):
            mover.finish()
            self.agenda.put_back([study])

    @property
    def may_begin(self) -> bool:
        """Whether an association may be begun; those that run are given more in any case."""
        return time.monotonic() >= self.begin_at

    def is_worth_starting(self) -> bool:
        """Whether another movescu would be of use before those that run have moved what waits."""
        running = sum(mover.is_busy and mover.seconds_at < QUICK_SECONDS for mover in self.connections.movers)
        seconds = self.agenda.studies_waiting * self.transfers.usual_seconds
        return not running or seconds > running * START_SECONDS

    def release_idle(self, *, is_pausing: bool) -> None:
        """End the C-MOVE associations that have moved what they were given when no other study comes soon."""
        may_come = bool(self.inquiries.open_groups or self.agenda.has_fresh_work) and not is_pausing
        for mover in self.connections.movers:
            if mover.is_busy and not mover.pending and (not may_come or mover.idle_seconds > IDLE_SECONDS):
                mover.finish()

    def begin_lookups(self) -> None:
        """Begin as many inquiries as one association can carry, but not far ahead of what is being moved."""
        most = self.queries.now
        ahead = max(2 * len(self.connections.movers) * self.system.retrievals_per_association, most)
        while self.inquiries.waiting < most:
            if self.retrieves and self.agenda.studies_waiting + self.inquiries.open_requests >= ahead:
                return
            group = self.agenda.next_group()
            if group is None:
                return
            self.inquiries.begin(group)

    def recounts_to_ask(self, most: int, kind: FindKind | None) -> list[Ticket]:
        """The counts to ask again: with other queries when some are asked anyway, else many or the last at once."""
        are_last = not (self.transfers.are_settling or self.inquiries.open_groups or self.agenda.has_fresh_work)
        are_last = are_last and not any(mover.pending for mover in self.connections.movers)
        are_old = time.monotonic() - self.recount_since >= RECOUNT_SECONDS
        if (kind is not None and most > 0) or are_last or are_old or self.recounts.waiting >= STUDIES_IN_A_LIST:
            self.recounts.begin()
            self.recount_since = math.inf
        return self.recounts.take(most, kind)

    def longest_wait(self) -> float:
        """Seconds until something has to be done although nothing happens; a second at most."""
        is_idle = any(mover.is_busy and not mover.pending for mover in self.connections.movers)
        is_soon = self.transfers.are_settling or is_idle
        now = time.monotonic()
        pauses = [at - now for at in (self.resume_at, self.begin_at) if at > now]
        return min(0.2 if is_soon else 1.0, *pauses, 1.0)

    def stop(self, reason: NifflerError) -> None:
        """Ask for the end of the run; the first reason counts. May be called by a signal handler."""
        self.reason = self.reason or reason
        self.connections.wake()

    def pause(self, seconds: float) -> None:
        """Begin nothing for so long."""
        self.begin_no_association(seconds)
        self.resume_at = max(self.resume_at, time.monotonic() + seconds)

    def begin_no_association(self, seconds: float) -> None:
        """Use those that there are for so long: a PACS may serve some and refuse more."""
        self.begin_at = max(self.begin_at, time.monotonic() + seconds)

    def end_associations(self) -> None:
        """Let the requests under way finish for a moment, then break off; take in what was answered."""
        self.is_stopping = True
        for association in self.connections.all:
            association.stop_after_current()
        deadline = time.monotonic() + STOP_GRACE_SECONDS
        while self.connections.are_busy or self.transfers.are_settling:
            self.teller.tell(self.activity(), self.standing)
            self.take_in(self.connections.next_events(self.longest_wait()))
            if time.monotonic() > deadline:
                for association in self.connections.all:
                    association.kill()
                if not self.connections.are_busy or time.monotonic() > deadline + STOP_GRACE_SECONDS:
                    break

    # What the PACS answers, and what is done about it

    def take_in(self, events: Sequence[object]) -> None:
        """Take in events in their order, then record what they completed, then say so."""
        for event in events:
            match event:
                case Answered(item=Ticket() as ticket, answer=QueryAnswer() as answer):
                    self.patience.heard()
                    if self.recounts.asked(ticket):
                        for study, lookup in self.recounts.answer(ticket, answer):
                            self.recounted(study, lookup)
                        continue
                    for request, lookup in self.inquiries.answer(ticket, answer):
                        self.looked_up(request, lookup)
                case Answered(item=Study() as study, answer=Response() as response, seconds=seconds):
                    self.transfers.answered(study, seconds)
                    self.patience.heard()
                    self.moved(study, response)
                case Heard(association=association, item=Study() as study, counts=counts):
                    if self.transfers.heard(association, study, counts):
                        self.patience.heard()
                case Heard():
                    self.patience.heard()
                case Ended():
                    self.association_ended(event)
                case Arrived(arrivals=arrivals):
                    for arrival in arrivals:
                        self.arrived(arrival)
                case CaughtUp(token=uid):
                    self.transfers.caught_up(uid)
                case DiskFull():
                    self.stop(GaveUpError(f"{self.settings.storage_folder}: the disk is full; make room, start again"))
                case Broke(association=association, error=error):
                    association.is_busy = False
                    if not isinstance(error, (OSError, NifflerError)):
                        raise error
                    self.stop(GaveUpError(f"{error}; mend that, then start the same command again"))
        self.settle()
        self.record()

    def looked_up(self, request: int, lookup: Lookup) -> None:
        """C-FIND has answered for a request: its studies are to be moved, or it has its outcome."""
        if lookup.failure:
            why = without_comments(lookup.failure)
            if remedy(Outcome.FAILED, lookup.status, 0) is Remedy.AGAIN_AFTER_PAUSE:
                self.short_of_resources(why)
            self.finished(self.agenda.lookup_failed(request, lookup.failure), why)
            self.attempted(why)
            return
        self.patience.served()
        if lookup.too_many:
            detail = f"more than {self.most_matches} matches; ask by other attributes"
            if self.retrieves:
                detail = f"more than {self.system.max_studies_per_row} studies match; see MaxStudiesPerRow"
            self.finished([Finished(request, RowResult(Outcome.REFUSED, attempts=1, detail=detail))], detail)
        elif not lookup.studies and lookup.refusals:
            first = lookup.refusals[0]
            detail = f"{len(lookup.refusals)} matches, none as asked: {first}"
            refused = RowResult(Outcome.REFUSED, attempts=1, detail=detail)
            self.finished([Finished(request, refused)], f"refused for {first.keyword}")
        elif not lookup.studies:
            detail = "the PACS has no such study; are the values right, and of its kind of identifier?"
            self.finished([Finished(request, RowResult(Outcome.NOT_FOUND, attempts=1, detail=detail))])
        elif self.retrieves:
            if request in self.begun:
                self.begun.discard(request)
                self.reopened(request)
            self.decided(self.agenda.begin_request(request, lookup, self.books.verified))
        else:
            self.found(request, lookup)

    def found(self, request: int, lookup: Lookup) -> None:
        """A request of a C-FIND mode is answered: its matches go to cfind-output.csv."""
        self.to_list += lookup.matches
        others = f"{len(lookup.refusals)} other matches are not listed: {lookup.refusals[0]}" if lookup.refusals else ""
        result = RowResult(Outcome.FOUND, studies=len(lookup.studies), attempts=1, detail=others)
        self.books.enter_find(self.worklist.requests[request], result)
        self.finished([Finished(request, result)])

    def moved(self, study: Study, response: Response) -> None:
        """A C-MOVE has its final response; its verdict waits for the images that the PACS says it sent."""
        if response.status == DESTINATION_UNKNOWN:
            if not self.has_served:
                self.stop(
                    GaveUpError(
                        f"the PACS does not know the move destination {self.system.dest_aet} (status A801H); ask its "
                        f"team to enter that AE title with this machine's address and port "
                        f"{self.system.query_aet.port}, or correct DestAet in system.json"
                    )
                )
                self.agenda.put_back([study])
                return
            self.trouble(in_words(response.status))
            self.resume_at = self.begin_at  # over any association the next study would fare the same
        self.transfers.settle(study, response)
        self.connections.catch_up(study.study_instance_uid)

    def arrived(self, arrival: Arrival) -> None:
        """An instance was stored: of a study that is being moved, or one that nobody asked for."""
        reason = "it cannot be read" if arrival.problem else "it was not asked for"
        if not Path(os.path.normpath(arrival.path)).is_relative_to(self.settings.storage_folder):
            reason = "storescp wrote outside of StorageFolder; write {00100020,md5} in FilePath"
        elif self.on_disk.take(arrival):
            self.has_served = True
            self.unrequested.replaced(arrival.path)
            self.transfers.got_on(arrival.study_instance_uid)
            return
        self.unrequested.note(arrival.path, arrival.problem or reason)
        logging.warning("unrequested: an instance was received that counts for no row: %s", reason)

    def settle(self) -> None:
        """Give the verdicts whose images are all there, or have had their time."""
        for one in self.transfers.settled(self.on_disk.of if self.receives_here else None):
            self.tried(judge(one.study, one.response, one.received))

    def tried(self, result: StudyResult) -> None:
        """An attempt to move a study has its verdict: it stands, or the study comes again."""
        uid = result.study.study_instance_uid
        if remedy(result.outcome, result.status, result.received) is Remedy.AGAIN_AFTER_PAUSE:
            self.short_of_resources(without_comments(result.detail))
        elif result.outcome is Outcome.RETRIEVED:
            self.has_served = True
            self.patience.served()
        size = self.on_disk.of(uid).size
        tried = self.agenda.tried(result)
        status = "the association broke" if result.status is None else in_words(result.status)
        why = f"C-MOVE: {status}" if result.outcome is Outcome.FAILED else ""
        self.attempted(why)
        if tried.comes_again:
            return
        self.on_disk.forget(uid)
        if tried.result.outcome is Outcome.RETRIEVED:
            self.books.study_complete(tried.result, self.transfers.seconds_of(uid), size)
            for request, studies in tried.wanted_by.items():
                self.books.enter_study(self.worklist.requests[request], studies, result.study)
            self.recounts.add(result.study)
            self.recount_since = min(self.recount_since, time.monotonic())
        self.decided(tried.decided, why)

    def recounted(self, study: Study, lookup: Lookup) -> None:
        """The count of a retrieved study was asked again: if the PACS has more of it now, it is moved again."""
        if lookup.failure:
            why = without_comments(lookup.failure)
            if remedy(Outcome.FAILED, lookup.status, 0) is Remedy.AGAIN_AFTER_PAUSE:
                self.short_of_resources(why)
            self.not_recounted(study, why)
            return
        announced = lookup.studies[0].announced_instances if lookup.studies else None
        self.decided(self.agenda.counted(study, announced).decided)

    def not_recounted(self, study: Study, why: str) -> None:
        """The PACS did not say how much it has of a retrieved study: it is asked again, at last by the next run."""
        if self.recounts.failed(study, self.system.max_attempts):
            self.pause(PASS_PAUSE_SECONDS)
            return
        logging.warning("a retrieved study could not be counted again (%s); the next run asks for its count", why)
        self.agenda.not_counted(study)

    def attempted(self, why_it_failed: str) -> None:
        """An attempt has been made: ten that failed alike are repeated before anything else is tried.

        A PACS that fails everything is found out soon, not at the end of a long list.
        """
        if self.attempts.ended(why_it_failed):
            self.attempts = Breaker()
            self.agenda.take_up_failures()
            self.pause(PASS_PAUSE_SECONDS)

    def association_ended(self, ended: Ended) -> None:
        """What an association left unanswered is asked again; what it broke at has lost an attempt."""
        ended.association.is_busy = False
        self.transfers.broke_off(ended.association)
        expected_end = self.is_stopping or not self.is_open
        if not expected_end:
            portion = self.moves if ended.association in self.connections.movers else self.queries
            portion.ended(ended.served, broke=bool(ended.trouble))
        under_way = None if expected_end else ended.under_way
        self.agenda.put_back([item for item in ended.unanswered if isinstance(item, Study) and item is not under_way])
        tickets = [item for item in ended.unanswered if isinstance(item, Ticket)]
        broke_at = under_way if isinstance(under_way, Ticket) else None
        group = self.inquiries.put_back(tickets, broke_at)
        if group is not None:
            self.finished(self.agenda.group_broke(group, f"C-FIND: {ended.trouble}"), ended.trouble)
        for study in self.recounts.put_back(tickets, broke_at):
            self.not_recounted(study, ended.trouble)
        if isinstance(under_way, Study):
            received = self.on_disk.of(under_way.study_instance_uid).instances
            outcome = Outcome.PARTIAL if received else Outcome.FAILED
            expected = under_way.announced_instances or 0
            self.tried(StudyResult(under_way, outcome, expected, received, detail=f"C-MOVE: {ended.trouble}"))
        if ended.trouble and not expected_end:
            self.trouble(ended.trouble)

    def trouble(self, why: str) -> None:
        """The association could not be made or broke: pause, longer each time, and give up in the end."""
        now = time.monotonic()
        if now < self.begin_at:
            return  # another association told of the same trouble
        if self.patience.is_over(now):
            since = in_hours(self.patience.silent_seconds(now))
            advice = advice_on_silence(why, self.system.query_aet.ae_title)
            self.stop(GaveUpError(f"{self.system.src_aet} has not answered for {since} ({why}); {advice}"))
            return
        pause = self.patience.pause_for_silence(now)
        self.begin_no_association(pause)
        logging.warning("%s: %s; trying again in %.0f s", self.system.src_aet, why, pause)

    def short_of_resources(self, why: str) -> None:
        """The PACS has too much to do: pause, longer each time, and give up in the end."""
        now = time.monotonic()
        if now < self.resume_at:
            return
        if self.patience.is_over(now):
            self.stop(
                GaveUpError(
                    f"{self.system.src_aet}: {why}, for {self.system.give_up_minutes:g} minutes (GiveUpMinutes); start "
                    "the same command again at a quieter time"
                )
            )
            return
        pause = self.patience.pause_for_shortage(now)
        self.pause(pause)
        logging.warning("%s: %s; trying again in %.0f s", self.system.src_aet, why, pause)

    # What is complete

    def decided(self, decided: Decided, bad_ending: str = "") -> None:
        """What studies led to: rows have their result, have it for good, or have lost it again."""
        for study in decided.grown:
            self.books.take_back(study)
        for request in decided.reopened:
            self.reopened(request)
            self.to_say += [
                f"line {self.worklist.lines[row]}: the PACS has more images by now; they are retrieved"
                for row in self.rows_of(request)
            ]
        self.finished(decided.finished, bad_ending)
        for one in decided.settled:
            if one.result.outcome is Outcome.RETRIEVED:
                self.books.enter_row(
                    self.worklist.requests[one.request], one.result, [study.study for study in one.studies]
                )

    def reopened(self, request: int) -> None:
        """A row had a result and is to get it anew."""
        self.teller.rows_done(-len(self.rows_of(request)), self.results[request].outcome)
        self.results[request] = PENDING

    def finished(self, finished: Sequence[Finished], bad_ending: str = "") -> None:
        """Requests have their result; ten bad endings alike stop the run."""
        for one in finished:
            if one.request in self.begun:
                continue  # verified by an earlier run; that the PACS tells nothing more of it takes nothing away
            self.results[one.request] = one.result
            rows = self.rows_of(one.request)
            self.teller.rows_done(len(rows), one.result.outcome)
            lines = [outcomes.row_line(self.worklist.lines[row], one.result) for row in rows]
            self.to_say += lines
            if one.result.outcome not in ANSWERED:
                self.teller.note_problems(lines)
            if self.endings.ended(bad_ending):
                settings = what_to_check(bad_ending, [attribute.keyword for attribute in self.settings.attributes])
                self.stop(
                    GaveUpError(
                        f"{ALIKE_ENDINGS} rows in a row ended in the same way, the last in line "
                        f"{self.worklist.lines[rows[-1]]} ({bad_ending}); the rest is pending. Look at their Detail in "
                        f"{outcomes.outcomes_csv(self.modified).name}, check {settings}, then start the same command "
                        "again"
                    )
                )

    def record(self) -> None:
        """Put on disk what is complete, then say so."""
        if self.to_list:
            self.metadata.append(self.to_list)
            self.to_list.clear()
        self.books.commit()
        self.unrequested.commit()
        for line in self.to_say:
            logging.info(line)
        self.to_say.clear()

    # What is being done

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """The state file says that the run has begun, and why where it cannot go on."""
        self.teller.tell(Activity.PREPARING, self.standing)
        try:
            yield
        except NifflerError as failure:
            self.tell_end(failure, failure.exit_code)
            raise

    def activity(self) -> Activity:
        """What is being done at this moment."""
        if self.is_stopping:
            return Activity.STOPPING
        if not self.is_open and not self.connections.are_busy:
            return Activity.WAITING_FOR_WINDOW
        if self.patience.is_tried_by_silence:
            return Activity.WAITING_FOR_PACS
        if self.patience.is_tried_by_shortage and not self.connections.are_busy:
            return Activity.PAUSING
        is_moving = (
            self.transfers.are_settling
            or self.agenda.studies_waiting
            or any(one.is_busy for one in self.connections.movers)
        )
        return Activity.RETRIEVING if is_moving else Activity.LOOKING_UP

    def lines_under_way(self) -> list[int]:
        """The lines of the list that the PACS is asked about at this moment; of rows that ask the same, the first."""
        movers = [association.at for association in self.connections.movers]
        finders = [association.at for association in self.connections.finders]
        requests = {request for study in movers if study for request in self.agenda.wanting(study)[:1]}
        looking_up = [ticket for ticket in finders if ticket and not self.recounts.asked(ticket)]
        requests = requests or {request for ticket in looking_up for request in ticket.requests[:1]}
        return [self.worklist.lines[self.rows_of(request)[0]] for request in requests]

    def standing(self, activity: Activity) -> Standing:
        """How far the run is, at which lines, or until when it waits."""
        books, on_disk = self.books, self.on_disk
        is_at_lines = activity in (Activity.LOOKING_UP, Activity.RETRIEVING, Activity.STOPPING)
        is_waiting = activity is Activity.WAITING_FOR_WINDOW
        return Standing(
            received=Amount(books.verified_studies - self.studies_before, on_disk.instances, on_disk.size),
            verified=Amount(books.verified_studies, books.verified_images, books.verified_size),
            lines=self.lines_under_way() if is_at_lines else (),
            waits_until=self.window.next_opening(datetime.now()) if is_waiting else None,
        )

    def say_progress(self) -> None:
        """The progress line of the log."""
        self.teller.say(self.activity(), self.standing)

    def tell_end(self, reason: NifflerError | None, exit_code: int, counts: dict[Outcome, int] | None = None) -> None:
        """Say that the run has ended, and why if it is not complete."""
        match reason:
            case None:
                activity = Activity.COMPLETE
            case StoppedError() | OutsideWindowError():
                activity = Activity.STOPPED
            case GaveUpError():
                activity = Activity.GAVE_UP
            case _:
                activity = Activity.NOT_STARTED
        self.teller.end(activity, str(reason or ""), exit_code, counts, self.standing)

    # The end

    def write_outcomes(self) -> None:
        """Write the outcome files as things stand."""
        results = self.results.copy()
        for request, studies in self.agenda.unfinished().items():
            results[request] = outcomes.begun(studies)
        outcomes.write_outcomes(self.modified, self.worklist, results)
        if self.retrieves:
            self.unrequested.write()

    def write_outcomes_and_report(self) -> None:
        """Write the outcome files, then the report of them: drawing takes a while, so it is done aside."""
        self.checkpoint.save()  # the report reads the ledger, too
        self.write_outcomes()
        self.account.draw_aside(self.teller.estimated_end())

    def send_morning_email(self, opening: str) -> None:
        """Say how far it is when the window shuts."""
        lines = self.summary(outcomes.count(self.worklist, self.results))[:-1]  # it has not taken its time yet
        lines.append(f"the nightly window is shut; it goes on at {opening}")
        if end := self.teller.estimated_end():
            lines.append(f"estimated end {in_local_time(end)}")
        self.account.send_aside("[EXTRACTION GOES ON]", lines)

    def finish(self, reason: NifflerError | None) -> int:
        """Save, write the outcomes, say how it went; returns the exit code."""
        for save in (self.checkpoint.close, self.write_outcomes):
            try:
                save()
            except GaveUpError as failure:
                reason = reason or failure
                if str(failure) != str(reason):
                    logging.error(str(failure))
        counts = outcomes.count(self.worklist, self.results)
        for studies, rows in outcomes.round_numbers(self.results).items():
            self.remarks.append(
                f"{rows} rows have exactly {studies} studies each: does the PACS cut its answers off there? Then they "
                "lack studies; ask its team, or ask by more attributes, with the pickle deleted"
            )
            logging.warning(self.remarks[-1])
        exit_code = outcomes.exit_code(counts) if reason is None else reason.exit_code
        self.tell_end(reason, exit_code, counts)
        entries = study_entries(self.books.records, self.agenda.decided)
        figures = self.account.close(exit_code, str(reason or ""), counts, entries)
        summary = self.summary(counts)
        for line in summary:
            logging.info(line)
        if reason is None:
            title = "[EXTRACTION COMPLETE]"
            logging.info(
                "%s %s: Niffler Extraction to %s Completes. Terminating the completed storescp process.",
                title, datetime.now(), self.settings.storage_folder,
            )  # fmt: skip
        else:
            title = "[EXTRACTION STOPPED]"
            logging.error("%s %s: %s", title, datetime.now(), reason)
            summary.append(str(reason))
        if not isinstance(reason, (OutsideWindowError, StoppedError)):
            self.account.send(title, summary, figures)
        return exit_code

    def summary(self, counts: dict[Outcome, int]) -> list[str]:
        """What the log and the email say at the end; no patient data."""
        lines = [outcomes.in_one_line(counts)]
        if self.retrieves:
            lines.append(
                f"{self.on_disk.instances} images, {in_bytes(self.on_disk.size)} received in this run, in "
                f"{self.settings.storage_folder}"
            )
        else:
            lines.append(f"metadata in {self.metadata.path}")
        if self.unrequested:
            lines.append(
                f"unrequested: {len(self.unrequested)} instances that were not asked for, counted for no row; their "
                f"paths: {self.unrequested.path}"
            )
        lines.append(f"every row: {outcomes.outcomes_csv(self.modified)}")
        lines.append(f"at a glance: {report_html(self.modified)}")
        if set(counts) - {Outcome.RETRIEVED, Outcome.FOUND}:
            lines.append(f"rows to look at: {outcomes.unfinished_csv(self.modified)}")
        if set(counts) - {Outcome.INVALID} == {Outcome.NOT_FOUND}:
            lines.append("no row was found: are the attributes, their columns and the kind of identifier right?")
        lines += self.remarks
        lines.append(f"it took {in_hours(time.monotonic() - self.started)}")
        return lines


if __name__ == "__main__":
    sys.exit(main())
