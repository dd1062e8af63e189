"""Links over pipes: frames both ways, signs of life, and every way in which one can end."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from buttersink.errors import ProtocolError
from buttersink.link import ForeignTextError, Link, LinkEndedError, LinkStalledError
from buttersink.wire.frames import MAX_DATA, PREAMBLE, Kind, encode_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHORT = 0.3
"""Seconds after which a silent side counts as dead; longer than anything here takes."""
LONG = 60.0


class Ends:
    """Two links that lead to each other, and the descriptors below them."""

    def __init__(self, near_stall: float, far_stall: float) -> None:
        self.far_read, self.near_write = os.pipe()
        self.near_read, self.far_write = os.pipe()
        self.near = Link(self.near_read, self.near_write, stall_seconds=near_stall)
        self.far = Link(self.far_read, self.far_write, stall_seconds=far_stall)

    def hang_up(self) -> None:
        """Close what the far side has."""
        self.far.close()
        for fd in (self.far_read, self.far_write):
            with suppress(OSError):
                os.close(fd)


@contextmanager
def ends(*, near_stall: float = LONG, far_stall: float = LONG) -> Iterator[Ends]:
    both = Ends(near_stall, far_stall)
    try:
        yield both
    finally:
        both.near.close()
        both.hang_up()
        for fd in (both.near_read, both.near_write):
            with suppress(OSError):
                os.close(fd)


def in_thread(work: object, *args: object) -> threading.Thread:
    assert callable(work)
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def later(seconds: float, work: Callable[[], object]) -> None:
    time.sleep(seconds)
    work()


def test_what_is_said_arrives_in_order() -> None:
    with ends() as both:
        both.near.send(Kind.REQUEST, b"what?")
        both.near.send(Kind.CANCEL)
        both.near.send(Kind.END, b"")

        frames = [both.far.next() for _ in range(3)]

    assert [(f.kind, bytes(f.payload)) for f in frames] == [
        (Kind.REQUEST, b"what?"),
        (Kind.CANCEL, b""),
        (Kind.END, b""),
    ]


def test_more_than_a_pipe_holds_arrives_whole() -> None:
    data = os.urandom(MAX_DATA)
    received = bytearray()

    def take(link: Link) -> None:
        while (frame := link.next()).kind is Kind.DATA:
            received.extend(frame.payload)

    with ends() as both:
        thread = in_thread(take, both.far)
        for _ in range(5):
            both.near.send(Kind.DATA, data)
        both.near.send(Kind.END)
        thread.join(LONG)

    assert bytes(received) == data * 5


def test_both_may_talk_at_once_without_blocking_each_other() -> None:
    # As much from either side as fits into the pipe twice, with nobody reading meanwhile.
    size, count = 1 << 16, 2
    taken = bytearray()
    with ends() as both:

        def talk_and_listen() -> None:
            for _ in range(count):
                both.far.send(Kind.PROGRESS, b"p" * size)
            while len(taken) < size * count:
                taken.extend(both.far.next().payload)

        thread = in_thread(talk_and_listen)
        for _ in range(count):
            both.near.send(Kind.DATA, b"d" * size)
        heard = [both.near.next() for _ in range(count)]
        thread.join(LONG)
        assert not thread.is_alive()

    assert [bytes(f.payload) for f in heard] == [b"p" * size] * count
    assert taken == b"d" * size * count


def test_why_a_stream_is_refused_is_heard_in_the_middle_of_it() -> None:
    with ends() as both:
        both.near.send(Kind.DATA, b"d" * 1000)
        both.far.send(Kind.ERROR, b"no")
        while (frame := both.near.pending()) is None:
            pass

    assert (frame.kind, bytes(frame.payload)) == (Kind.ERROR, b"no")


def test_nothing_is_pending_when_nothing_came() -> None:
    with ends() as both:
        assert both.near.pending() is None


def test_a_silent_side_counts_as_dead_when_it_is_listened_to() -> None:
    with ends(near_stall=SHORT) as both, pytest.raises(LinkStalledError, match="nothing has come"):
        both.near.next()


def test_a_silent_side_counts_as_dead_when_it_takes_nothing() -> None:
    with ends(near_stall=SHORT) as both, pytest.raises(LinkStalledError):
        both.near.send(Kind.DATA, bytes(MAX_DATA))


def test_a_side_that_gives_signs_of_life_may_take_its_time_to_answer() -> None:
    with ends(near_stall=SHORT, far_stall=SHORT) as both:
        both.far.keep_alive()
        thread = in_thread(later, 4 * SHORT, lambda: both.far.send(Kind.REPLY, b"late"))

        frame = both.near.next()
        thread.join(LONG)

    assert bytes(frame.payload) == b"late"


def test_a_side_that_gives_signs_of_life_may_take_its_time_to_read() -> None:
    size = 5

    def take_slowly(link: Link) -> None:
        time.sleep(4 * SHORT)
        with suppress(LinkEndedError):
            while link.next().kind is not Kind.END:
                pass

    with ends(near_stall=SHORT, far_stall=SHORT) as both:
        both.far.keep_alive()
        thread = in_thread(take_slowly, both.far)
        for _ in range(size):
            both.near.send(Kind.DATA, bytes(MAX_DATA))
        both.near.send(Kind.END)
        thread.join(LONG)
        assert not thread.is_alive()


def test_signs_of_life_never_come_in_between_the_parts_of_a_frame() -> None:
    data = os.urandom(MAX_DATA)

    def take(link: Link) -> None:
        received = bytearray()
        while (frame := link.next()).kind is Kind.DATA:
            received += frame.payload
            time.sleep(SHORT / 50)
        intact.append(bytes(received) == data)

    intact: list[bool] = []
    with ends(near_stall=SHORT) as both:
        both.near.keep_alive()
        both.far.keep_alive()
        thread = in_thread(take, both.far)
        both.near.send(Kind.DATA, data)
        both.near.send(Kind.END)
        thread.join(LONG)

    assert intact == [True]


def test_the_end_of_the_link_is_noticed_when_listening() -> None:
    with ends() as both:
        both.far.send(Kind.REPLY, b"last")
        both.hang_up()

        assert bytes(both.near.next().payload) == b"last"
        for _ in range(2):
            with pytest.raises(LinkEndedError):
                both.near.next()


def test_the_end_of_the_link_is_noticed_when_talking() -> None:
    with ends() as both:
        both.hang_up()

        for _ in range(2):
            with pytest.raises(LinkEndedError):
                both.near.send(Kind.DATA, b"into the void")


def test_an_end_within_a_frame_is_told_as_such() -> None:
    with ends() as both:
        os.write(both.far_write, encode_frame(Kind.REPLY, b"cut")[:-1])
        both.hang_up()

        with pytest.raises(LinkEndedError, match="within a message"):
            both.near.next()


def test_who_keeps_a_link_alive_is_told_when_the_other_side_has_gone() -> None:
    lost = threading.Event()
    with ends(near_stall=SHORT) as both:
        both.near.keep_alive(lost.set)
        both.hang_up()

        assert lost.wait(LONG)


def test_who_has_noticed_that_is_not_told_again() -> None:
    """What is brought to an end then must not be interrupted."""
    lost = threading.Event()
    with ends(near_stall=SHORT) as both:
        os.close(both.far_write)
        with pytest.raises(LinkEndedError):
            both.near.next()
        both.near.keep_alive(lost.set)
        (keeper,) = (each for each in threading.enumerate() if each.name == "keep-alive")
        os.close(both.far_read)

        keeper.join(LONG)

        assert not keeper.is_alive()
        assert not lost.is_set()


def test_who_must_not_be_disturbed_is_told_afterwards() -> None:
    lost = threading.Event()
    with ends(near_stall=SHORT) as both:
        with both.near.undisturbed():
            both.near.keep_alive(lost.set)
            both.hang_up()
            assert not lost.wait(2 * SHORT)

        assert lost.wait(LONG)


def test_after_an_interrupt_in_the_middle_of_a_frame_nothing_more_is_said() -> None:
    with ends(near_stall=SHORT) as both:
        with pytest.raises(LinkStalledError):
            both.near.send(Kind.DATA, bytes(MAX_DATA))

        with pytest.raises(LinkEndedError, match="broken off"):
            both.near.send(Kind.CANCEL)


def test_a_side_that_talks_all_the_time_is_refused() -> None:
    # Empty messages take no room in any count of bytes.
    babble = encode_frame(Kind.END) * 10_000
    with ends() as both:
        os.set_blocking(both.far_write, True)

        def talk() -> None:
            with suppress(BrokenPipeError):
                os.write(both.far_write, babble)

        thread = in_thread(talk)
        with pytest.raises(ProtocolError, match="all the time"):
            both.near.send(Kind.DATA, bytes(MAX_DATA))
        os.close(both.near_read)
        thread.join(LONG)


@pytest.mark.parametrize("cut", [1, 5, len(PREAMBLE), len(PREAMBLE) + 3])
def test_greetings_arrive_however_they_are_cut(cut: int) -> None:
    greeting = PREAMBLE + encode_frame(Kind.HELLO, b"me")
    with ends() as both:
        os.write(both.far_write, greeting[:cut])
        thread = in_thread(later, 0.05, lambda: os.write(both.far_write, greeting[cut:]))

        both.near.greeted()
        frame = both.near.next()
        thread.join(LONG)

    assert (frame.kind, bytes(frame.payload)) == (Kind.HELLO, b"me")


@pytest.mark.parametrize(
    "text", [b"Welcome to nas!\nHave fun.\n", b'{"error": "?"}\n', b"butter\n", b"x"]
)
def test_other_text_in_place_of_a_greeting_is_kept_for_the_message(text: bytes) -> None:
    with ends() as both:
        os.write(both.far_write, text)
        both.hang_up()

        with pytest.raises(ForeignTextError) as caught:
            both.near.greeted()

    assert caught.value.text.startswith(text[:16])


def test_a_link_that_ends_before_the_greeting_has_just_ended() -> None:
    with ends() as both:
        both.hang_up()

        with pytest.raises(LinkEndedError):
            both.near.greeted()


def test_bytes_are_counted() -> None:
    with ends() as both:
        both.near.begin()
        both.near.send(Kind.HELLO, b"me")
        both.near.send(Kind.DATA, b"data")
        both.far.greeted()
        both.far.next()
        both.far.next()

    assert both.near.sent_bytes == both.far.received_bytes == len(PREAMBLE) + 5 + 2 + 5 + 4
