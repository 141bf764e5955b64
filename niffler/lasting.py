"""What a run builds up once and keeps to its end: nothing for the garbage collector to find."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def made_to_last() -> Iterator[None]:
    """Do not search for garbage meanwhile, and never in what was made: a list has millions of values, and no cycles."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
