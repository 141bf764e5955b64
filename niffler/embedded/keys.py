"""The keys of a request: from the options -m, -r, -i and -L, and how they are laid over those of a query file."""

from collections.abc import Iterable, Sequence

from pydicom import sequence
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from niffler.embedded.errors import ToolError

_WHOLE_NUMBERS = ("SL", "SS", "SV", "UL", "US", "UV")
_FRACTIONS = ("FD", "FL")


def tag_of(name: str) -> BaseTag:
    """The tag that a keyword or eight hexadecimal digits name."""
    try:
        return Tag(int(name, 16))
    except (ValueError, OverflowError):
        tag = tag_for_keyword(name)
        if tag is None:
            raise ToolError(name) from None
        return Tag(tag)


def keys_of(level: str | None, return_keys: Iterable[str], matching_keys: Iterable[str]) -> Dataset:
    """The keys that the options name; a key may lie in a sequence, as in ``sequence.key=value``."""
    keys = Dataset()
    for key in (*return_keys, *matching_keys):
        path, _, value = key.partition("=")
        *parents, last = [tag_of(name) for name in path.split(".")]
        item = keys
        for parent in parents:
            if parent not in item or not item[parent].value:
                item.add(DataElement(parent, "SQ", sequence.Sequence([Dataset()])))
            item = item[parent].value[0]
        try:
            item.add(_key(last, value))
        except (ValueError, TypeError, OverflowError) as error:
            raise ToolError(f"{key}: {error}") from None
    if level:
        keys.QueryRetrieveLevel = level
    return keys


def make_element(tag: BaseTag, vr: str, texts: Sequence[str]) -> DataElement:
    """An element from its values as text."""
    if not any(texts):
        return DataElement(tag, vr, None)
    values: list[object] = list(texts)
    if vr in _WHOLE_NUMBERS:
        values = [int(text) for text in texts]
    elif vr in _FRACTIONS:
        values = [float(text) for text in texts]
    elif vr == "AT":
        values = [Tag(int(text, 16)) for text in texts]
    return DataElement(tag, vr, values[0] if len(values) == 1 else values)


def select(dataset: Dataset, names: Iterable[str]) -> Dataset:
    """The named attributes of a data set; all of them only where they are named in ascending order of their tags.

    DCM4CHE looks the tags up by halving, unsorted as they are given. Whoever names them in another order is to
    notice with these tools, too.
    """
    tags = [tag_of(name) for name in names]
    chosen = Dataset()
    for element in dataset:
        if _is_found(element.tag, tags):
            chosen.add(element)
    return chosen


def lay_over(dataset: Dataset, keys: Dataset) -> Dataset:
    """The data set with the keys laid over it; the first items of a sequence in both are merged."""
    merged = Dataset()
    merged.update(dataset)
    for element in keys:
        below = merged.get(element.tag)
        if element.VR == "SQ" and below is not None and below.VR == "SQ" and below.value and element.value:
            items = [lay_over(below.value[0], element.value[0]), *below.value[1:]]
            merged[element.tag] = DataElement(element.tag, "SQ", sequence.Sequence(items))
        else:
            merged[element.tag] = element
    return merged


def _is_found(tag: BaseTag, tags: Sequence[BaseTag]) -> bool:
    first, last = 0, len(tags) - 1
    while first <= last:
        middle = (first + last) // 2
        if tags[middle] == tag:
            return True
        first, last = (middle + 1, last) if tags[middle] < tag else (first, middle - 1)
    return False


def _key(tag: BaseTag, value: str) -> DataElement:
    try:
        vr = dictionary_VR(tag).split(" or ")[0]
    except KeyError:
        vr = "UN"
    if vr == "SQ":
        return DataElement(tag, vr, sequence.Sequence([Dataset()]))
    return make_element(tag, vr, value.split("\\"))
