"""The query files of a tool: a pipe is read when its turn comes, what nobody has read can be taken back."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

import psutil

from niffler.feed import Feed, WrittenFiles


def reader(feed: Feed) -> "subprocess.Popen[str]":
    """A process that reads the files of a feed in turn and prints each, up to an empty one."""
    script = 'for file; do text=$(cat "$file"); [ -n "$text" ] || exit 2; echo "$text"; done'
    return subprocess.Popen(
        ["sh", "-c", script, "sh", *feed.names],
        stdout=subprocess.PIPE, pass_fds=feed.inherited, text=True,
    )  # fmt: skip


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_tool_waits_at_the_file_that_is_not_written_yet() -> None:
    feed = Feed(3)
    assert feed.give(b"one")
    with reader(feed) as tool:
        assert line_of(tool) == "one"
        assert tool.poll() is None
        assert feed.give(b"two")
        assert line_of(tool) == "two"
        feed.finish()
    feed.withdraw()
    assert tool.returncode == 2


def test_a_tool_that_was_given_all_files_ends_by_itself() -> None:
    feed = Feed(2)
    with reader(feed) as tool:
        assert feed.give(b"one")
        assert feed.give(b"two")
        assert [line_of(tool), line_of(tool)] == ["one", "two"]
    assert tool.returncode == 0
    assert not feed.give(b"three")
    assert feed.given == 2
    feed.withdraw()


def test_what_a_tool_can_read_counts_as_given() -> None:
    feed, counted, is_counted = Feed(1), [], threading.Event()

    def read() -> None:
        while os.read(feed.inherited[0], 100):
            pass
        counted.append(feed.given)
        is_counted.set()

    def dawdle(_: FrameType, event: str, function: object) -> None:
        if event == "c_return" and function is os.close:  # the tool can read it all; its answer may come now
            is_counted.wait(10)

    tool = threading.Thread(target=read)
    tool.start()
    sys.setprofile(dawdle)
    try:
        feed.give(b"one")
    finally:
        sys.setprofile(None)
    tool.join()
    feed.withdraw()
    assert counted == [1]


def test_what_was_given_and_not_read_is_withdrawn() -> None:
    feed = Feed(3)
    assert feed.give(b"one")
    assert feed.give(b"two")
    held = list(map(os.dup, feed.inherited))
    feed.withdraw()
    assert [os.read(descriptor, 10) for descriptor in held] == [b"", b"", b""]
    assert not feed.give(b"three")
    for descriptor in held:
        os.close(descriptor)


def test_a_feed_leaves_no_descriptor_open() -> None:
    before = psutil.Process().num_fds()
    feed = Feed(20)
    feed.give(b"one")
    feed.finish()
    feed.withdraw()
    feed.withdraw()
    assert psutil.Process().num_fds() == before


def test_a_request_that_no_pipe_holds_makes_nobody_wait() -> None:
    feed = Feed(1)
    assert feed.give(b"x" * (1 << 20))
    feed.withdraw()


def test_a_tool_does_not_wait_for_a_run_that_was_killed() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert line_of(holder) == "one"
    holder.kill()
    assert line_of(holder) == "the tool ended"
    holder.communicate()


HOLD = """
import subprocess, sys
from niffler.feed import Feed
feed = Feed(2)
feed.give(b"one")
script = 'cat "$1"; echo; cat "$2"; echo the tool ended'
subprocess.Popen(["sh", "-c", script, "sh", *feed.names], pass_fds=feed.inherited)
sys.stdin.read()
"""


def test_files_that_were_withdrawn_are_gone(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.touch()
    files = WrittenFiles(paths)
    assert (files.given, files.is_closed) == (2, True)
    files.withdraw()
    files.withdraw()
    assert not any(path.exists() for path in paths)
