"""No input gives a traceback: settings of any bytes, and any lines and files of the receiver."""

import json
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from niffler.arrivals import OnDisk, read_arrival
from niffler.errors import WrongInputError
from niffler.printed import StoredFiles, says_disk_full
from niffler.settings_files import read_settings

_JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
_BYTES = st.one_of(
    st.binary(max_size=60),
    st.text(st.sampled_from('{}[]":,\\ \n1eE+-.tfnu\0\ufeff'), max_size=30).map(str.encode),
    _JSON_LIKE.map(lambda value: json.dumps(value).encode()),
)


@settings(deadline=None, max_examples=150)
@given(_BYTES, st.booleans())
@example(b"[" * 10_000, True)
@example(b'{"StartHour": 1' + b"0" * 5_000 + b"}", True)
@example(b'{"SrcAet": "\\ud800"}', True)
def test_any_bytes_are_settings_or_an_error_in_one_line_each(content: bytes, is_system: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "system.json").write_bytes(content if is_system else b"{}")
        (folder / "config.json").write_bytes(b"{}" if is_system else content)
        options = ["--StorageFolder", str(folder / "storage"), "--NifflerSystem", str(folder / "system.json")]
        try:
            read_settings(options, beside=folder)
        except WrongInputError as error:
            assert str(error)
            assert all(line.strip() for line in str(error).splitlines())


_LINE = st.one_of(
    st.text(max_size=60),
    st.builds(
        "{}12:00:00 INFO  - {}: M-RENAME {} to {}".format,
        st.sampled_from(["", " "]), st.sampled_from(["A->B(1)", "A(2)", "(3)"]),
        st.sampled_from(["x.part", ".part", "x"]), st.text(max_size=30),
    ),
    st.builds(
        "12:00:00 INFO  - {} << 1:C-STORE-RSP[pcid={}, status={}H".format,
        st.sampled_from(["A->B(1)", "A(2)", "(3)"]), st.sampled_from("1x"), st.sampled_from(["0", "110", "", "g"]),
    ),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(_LINE, max_size=12))
def test_whatever_storescp_prints_no_line_is_an_exception(lines: list[str]) -> None:
    stored, on_disk = StoredFiles(), OnDisk()
    for line in lines:
        says_disk_full(line)
        path = stored.path_in(line)
        if path is not None:
            arrival = read_arrival(path)
            assert arrival.problem
            assert not on_disk.take(arrival)


@settings(deadline=None)
@given(st.binary(max_size=300), st.booleans())
@example(b"\x08\x00\x18\x00UI\x04\x001.2\x00\x10\x00\x20\x00LO\xff\xff", True)
def test_any_file_is_an_instance_or_a_problem(content: bytes, has_preamble: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.dcm"
        path.write_bytes((bytes(128) + b"DICM" if has_preamble else b"") + content)
        arrival = read_arrival(str(path))
        assert arrival.problem or arrival.size == path.stat().st_size
