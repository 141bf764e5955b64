"""The report of a list, made anew from its files alone."""

import sys
from datetime import datetime

from niffler.head import Head, head_json, read_head
from niffler.report import figures_of, report_html, write_page
from niffler.settings import Settings
from niffler.settings_told import settings_told
from niffler.versions import versions
from niffler.worklist import modified_csv


def run(settings: Settings) -> int:
    """Make the page anew for the list that the settings name; returns the exit code."""
    modified = modified_csv(settings.csv_file)
    head = read_head(head_json(modified))
    note = ""
    if head is None:
        head = Head(str(settings.csv_file), "", settings_told(settings), versions(), ())
        note = "As they are now: no run has left a note with which it was made."
    figures = figures_of(settings, None)
    write_page(settings, head, figures, as_of=datetime.now(), is_running=False, note_on_settings=note)
    sys.stdout.write(f"{report_html(modified)}\n")
    return 0
