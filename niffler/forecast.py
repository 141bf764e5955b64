"""How long a retrieval takes and how much room it needs, from what was measured before; no clock, no disk."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from niffler.ledger import Record
from niffler.night import Window

_LATEST_STUDIES = 2000
_BYTES_OF_AN_IMAGE = {
    "CR": 8e6, "CT": 0.53e6, "DX": 15e6, "IO": 3e6, "KO": 0.01e6, "MG": 27e6, "MR": 0.25e6, "NM": 0.5e6, "OT": 1e6,
    "PR": 0.02e6, "PT": 0.08e6, "RF": 2e6, "SC": 1e6, "SR": 0.03e6, "US": 2e6, "XA": 15e6, "XC": 3e6,
}  # fmt: skip
_BYTES_OF_ANY_IMAGE = 0.5e6


@dataclass(frozen=True)
class Measured:
    """What the latest retrievals brought, and how long they worked for it."""

    studies: int
    images: int
    size: int
    """Bytes; 0 where the images went to another machine."""
    seconds: float
    """During which some study was under way: pauses and shut windows do not count."""
    until: str

    def seconds_for(self, images: float) -> float:
        """How long so many images take at this rate."""
        return images * self.seconds / self.images


@dataclass(frozen=True)
class Planned:
    """A study that is to be retrieved; ``images`` is None where the PACS did not tell."""

    images: int | None
    modalities: tuple[str, ...] = ()


def measured(records: Iterable[Record]) -> Measured | None:
    """The rate of the latest studies in some ledgers; None where there are none.

    A study stands there once for each request, and was under way for its seconds until it was finished. Of many at
    once the time counts once.
    """
    studies = {
        (record.finished, record.study_instance_uid): record
        for record in records
        if record.study_instance_uid and record.received and record.seconds
    }
    latest = [studies[key] for key in sorted(studies)][-_LATEST_STUDIES:]
    spans = []
    for record in latest:
        try:
            finished = datetime.fromisoformat(record.finished).timestamp()
        except ValueError:
            continue
        spans.append((finished - record.seconds, finished))
    seconds, reached = 0.0, 0.0
    for begun, finished in sorted(spans):
        seconds += max(0.0, finished - max(begun, reached))
        reached = max(reached, finished)
    if not spans or not seconds:
        return None
    return Measured(
        len(latest), sum(record.received for record in latest), sum(record.size for record in latest), seconds,
        latest[-1].finished,
    )  # fmt: skip


def images_of(studies: Sequence[Planned]) -> float:
    """How many images the studies have; one whose count the PACS did not tell has as many as the others."""
    told = [study.images for study in studies if study.images is not None]
    return sum(told) * len(studies) / len(told) if told else 0.0


def bytes_of(studies: Sequence[Planned], rate: Measured | None) -> float:
    """How much room the studies need: by the mean size of an image so far, or by what is usual for their modalities."""
    if rate is not None and rate.size:
        return images_of(studies) * rate.size / rate.images
    told = [study for study in studies if study.images is not None]
    size = sum((study.images or 0) * _usual_size(study.modalities) for study in told)
    return size * len(studies) / len(told) if told else 0.0


def _usual_size(modalities: Sequence[str]) -> float:
    """Bytes of an image, of several modalities that of the largest."""
    return max((_BYTES_OF_AN_IMAGE.get(one, _BYTES_OF_ANY_IMAGE) for one in modalities), default=_BYTES_OF_ANY_IMAGE)


def nights(seconds: float, window: Window) -> float:
    """How many windows so much work fills."""
    hours = (window.end_hour - window.start_hour) % 24 or 24
    return seconds / timedelta(hours=hours).total_seconds()
