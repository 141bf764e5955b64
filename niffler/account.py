"""What a run leaves for people to read: the report page, the manifest, an email; what takes a while is done aside."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from niffler import mail
from niffler.brief import brief_html, brief_text
from niffler.drawing import prepare
from niffler.errors import GaveUpError, NifflerError, WrongInputError
from niffler.figures import Figures
from niffler.head import Head, Run, file_sha256, head_json, read_head, write_head
from niffler.manifest import (
    StudyEntry,
    key_file,
    manifest_json,
    shareable_json,
    take_key,
    write_manifest,
    write_shareable,
)
from niffler.night import in_iso_time, in_local_time
from niffler.report import figures_of, write_page
from niffler.settings import Settings
from niffler.settings_told import settings_told
from niffler.shards import titled
from niffler.versions import versions
from niffler.vocabulary import Outcome


class Account:
    """The account of one run over a list; what goes wrong with it is a warning, and never ends the run."""

    def __init__(self, settings: Settings, modified: Path, lines: Sequence[int], tools_version: str) -> None:
        """``lines`` are those on which the rows of the list begin."""
        self._settings = settings
        self._modified = modified
        self._lines = lines
        self._head = Head(
            str(settings.csv_file), file_sha256(settings.csv_file), settings_told(settings),
            versions() | {"DCM4CHE": tools_version}, (Run(in_iso_time(datetime.now())),),
        )  # fmt: skip
        self._aside = ThreadPoolExecutor(1, "account")
        self._page: Future[Figures | None] | None = None

    def begin(self, *, continues: bool) -> None:
        """Note that the run has begun, after those before it; one that starts from scratch has none before it."""
        path = head_json(self._modified)
        if continues:
            try:
                earlier = read_head(path)
            except WrongInputError as fault:
                logging.warning(str(fault))
            else:
                self._head = replace(self._head, runs=(*(earlier.runs if earlier else ()), *self._head.runs))
        else:
            with contextlib.suppress(OSError):  # they are about studies that do not count any more
                manifest_json(self._modified).unlink(missing_ok=True)
                shareable_json(self._modified).unlink(missing_ok=True)
        try:
            write_head(path, self._head)
        except GaveUpError as failure:
            logging.warning("the manifest was not written: %s", failure)

    def prepare_aside(self) -> None:
        """Get ready to draw."""
        self._aside.submit(prepare)

    def draw_aside(self, estimated_end: datetime | None) -> None:
        """Draw the page of the files as they are now, unless it is being drawn still."""
        if self._page is None or self._page.done():
            end = in_local_time(estimated_end) if estimated_end else ""
            self._page = self._aside.submit(self._draw, self._head, end)

    def send_aside(self, title: str, lines: Sequence[str]) -> None:
        """Send an email with what the page drawn last shows; a mail server can be slow."""
        page = self._page
        self._aside.submit(lambda: self.send(title, lines, page.result() if page else None))

    def close(
        self, exit_code: int, ending: str, rows: Mapping[Outcome, int], studies: Sequence[StudyEntry]
    ) -> Figures | None:
        """Note that the run has ended, write the manifests and the page, and return the numbers of the page."""
        self._aside.shutdown()
        run = replace(self._head.runs[-1], ended=in_iso_time(datetime.now()), exit_code=exit_code, ending=ending)
        self._head = replace(self._head, runs=(*self._head.runs[:-1], run))
        try:
            write_head(head_json(self._modified), self._head)
            write_manifest(manifest_json(self._modified), self._head, rows, studies)
            key = take_key(key_file(self._modified))
            write_shareable(shareable_json(self._modified), key, self._head, rows, studies)
        except GaveUpError as failure:
            logging.warning("the manifest was not written: %s", failure)
        return self._draw(self._head)

    def send(self, title: str, lines: Sequence[str], figures: Figures | None) -> None:
        """Send the report's short form, if there is somebody to send it to."""
        if not self._settings.wants_email:
            return
        system = self._settings.system
        subject = f"Niffler {title} {titled(self._settings.csv_file.name, self._settings.shard)}"
        problem = mail.send_report(
            system.smtp_host, system.smtp_port, self._settings.your_email, subject,
            brief_text(lines, figures), brief_html(subject, lines, figures),
        )  # fmt: skip
        if problem:
            logging.warning("the email was not sent: %s", problem)

    def _draw(self, head: Head, estimated_end: str = "") -> Figures | None:
        """Write the page from the files and return its numbers."""
        figures = None
        try:
            figures = figures_of(self._settings, self._lines)
            write_page(
                self._settings, head, figures, as_of=datetime.now(), is_running=head.runs[-1].ended is None,
                estimated_end=estimated_end,
            )  # fmt: skip
        except NifflerError as failure:
            logging.warning("the report was not written: %s", failure)
        except Exception as bug:  # its text may quote a patient's values
            logging.warning(
                "the report was not written: an error in Niffler itself (%s); please report it", type(bug).__name__
            )
        return figures
