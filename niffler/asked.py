"""Which requests a study on disk answers, by what its images' headers say."""

import re
from collections.abc import Mapping, Sequence

from niffler.matching import disagreement
from niffler.vocabulary import Match, Request

_INDEXED = ("StudyInstanceUID", "AccessionNumber", "PatientID")
_NO_SINGLE_VALUE = re.compile(r"[*?\\]")
_IN_HEADER = {"ModalitiesInStudy": "Modality"}


def header_keywords(requests: Sequence[Request]) -> tuple[str, ...]:
    """The keywords of the image headers that tell whether a study was asked for."""
    return tuple(_IN_HEADER.get(keyword, keyword) for keyword in requests[0].keywords) if requests else ()


class Asked:
    """The requests of a list, to be found by the values of a study."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = requests
        self._by_value: dict[tuple[str, str], list[int]] = {}
        self._others: list[int] = []
        for index, request in enumerate(requests):
            keys = request.keys
            keyword = next((keyword for keyword in _INDEXED if keyword in keys), "")
            if keyword and not _NO_SINGLE_VALUE.search(keys[keyword]):
                self._by_value.setdefault((keyword, keys[keyword]), []).append(index)
            else:
                self._others.append(index)

    def by(self, values: Mapping[str, set[str]]) -> list[int]:
        """The requests that a study with these values of ``header_keywords`` answers."""
        found = [
            index
            for keyword in _INDEXED
            for value in values.get(keyword, ())
            for index in self._by_value.get((keyword, value), ())
        ]
        candidates = [*dict.fromkeys(found), *self._others]
        if not candidates:
            return []
        names = {_IN_HEADER.get(keyword, keyword): keyword for keyword in self._requests[0].keywords}
        match = Match({names.get(keyword, keyword): tuple(some) for keyword, some in values.items()})
        return [index for index in candidates if disagreement(self._requests[index].keys, match) is None]
