"""Imported before anything else by both scripts: a missing library and an early Ctrl-C are no tracebacks.

Until the extraction has its own handlers, Ctrl-C ends the process at once: there is nothing to save yet.
"""

import importlib.util
import signal
import sys

_LIBRARIES = (
    "jinja2",
    "matplotlib",
    "pandas",
    "psutil",
    "pydantic",
    "pydicom",
    "pynetdicom",
    "rich",
    "schedule",
    "tqdm",
)

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
    signal.signal(signal.SIGINT, signal.SIG_DFL)
if missing := [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]:
    sys.stderr.write(
        f"the suite's libraries are missing ({', '.join(missing)}): type 'source .venv/bin/activate' in its folder "
        "first; README.md says how to install them\n"
    )
    sys.exit(3)
