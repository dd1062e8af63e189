from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import TransferError
from buttersink.events import (
    Event,
    Failed,
    Measuring,
    Skipped,
    TransferDone,
    TransferProgress,
    TransferStarted,
)
from buttersink.model import Certainty, Size
from buttersink.plan import Reason, Skip, Transfer
from buttersink.report.tally import Gauge, Speedometer, Tally
from support.report_examples import ONE, THREE, TWO, Clock, planned, snapshot, transfer

KIB = 1024
sizes = st.builds(Size, st.integers(0, 2**50), st.sampled_from(Certainty))
outcomes = st.tuples(
    sizes,
    st.lists(st.integers(0, 2**50), max_size=4).map(sorted),
    st.sampled_from(["done", "fail", "skip"]),
)


def run(transfers: list[Transfer], script: list[tuple[Size, list[int], str]]) -> Iterator[Event]:
    yield planned(*transfers)
    for number, (step, (_, progress, outcome)) in enumerate(
        zip(transfers, script, strict=True), start=1
    ):
        if outcome == "skip":
            skip = Skip(snapshot=step.snapshot, path=step.path, reason=Reason.PARENT_FAILED)
            yield Skipped(skip=skip)
            continue
        yield TransferStarted(transfer=step, number=number, count=len(transfers))
        for plain_bytes in progress:
            yield TransferProgress(transfer=step, plain_bytes=plain_bytes)
        if outcome == "fail":
            yield Failed(step=step, error=TransferError("broken"))
        else:
            last = progress[-1] if progress else 0
            yield TransferDone(transfer=step, plain_bytes=last, sent_bytes=last, seconds=1)


@given(st.lists(outcomes, max_size=5), st.floats(0, 100))
def test_bars_never_pass_their_end_and_never_go_back(
    script: list[tuple[Size, list[int], str]], pace: float
) -> None:
    transfers = [
        transfer(snapshot(number), size=size) for number, (size, _, _) in enumerate(script, start=1)
    ]
    clock, done = Clock(), 0
    tally = Tally(clock)
    for event in run(transfers, script):
        clock.now += pace
        tally.follow(event)
        assert tally.overall.done >= done
        done = tally.overall.done
        for gauge in (tally.overall, tally.current):
            if gauge is not None:
                assert gauge.fraction is None or 0 <= gauge.fraction <= 1
                assert gauge.seconds_left is None or gauge.seconds_left >= 0
    assert tally.current is None
    assert tally.overall.total.nbytes == tally.overall.done


def test_a_total_of_zero_has_no_percentage() -> None:
    assert Gauge(done=0, total=Size(0)).fraction is None


def test_a_total_that_was_passed_is_unknown_from_then_on() -> None:
    tally = Tally(Clock())
    step = transfer(TWO, size=Size(100, Certainty.ESTIMATE))
    tally.follow(planned(step, transfer(THREE, TWO)))
    tally.follow(TransferStarted(transfer=step, number=1, count=2))
    tally.follow(TransferProgress(transfer=step, plain_bytes=101))
    assert tally.current
    assert tally.current.fraction is None
    assert tally.overall.fraction is None


def test_what_is_over_counts_as_what_it_was() -> None:
    tally = Tally(Clock())
    first, second = transfer(TWO, size=Size(100, Certainty.ESTIMATE)), transfer(THREE, TWO)
    tally.follow(planned(first, second))
    assert tally.overall.total == Size(5220, Certainty.ESTIMATE)
    tally.follow(TransferStarted(transfer=first, number=1, count=2))
    tally.follow(TransferDone(transfer=first, plain_bytes=500, sent_bytes=500, seconds=1))
    assert tally.overall == Gauge(done=500, total=Size(5620), rate=None)


def test_an_unknown_size_makes_the_sum_unknown() -> None:
    tally = Tally(Clock())
    tally.follow(planned(transfer(TWO, size=Size(1, Certainty.UNKNOWN)), transfer(THREE, TWO)))
    assert tally.overall.total.certainty is Certainty.UNKNOWN


@given(st.lists(st.tuples(st.integers(0, 5120), st.floats(0, 100)), max_size=9))
def test_what_is_sent_again_does_not_flow_back(progress: list[tuple[int, float]]) -> None:
    clock = Clock()
    tally = Tally(clock)
    step = transfer(ONE, size=Size(5120))
    tally.follow(TransferStarted(transfer=step, number=1, count=1))
    for plain_bytes, pace in progress:
        clock.now += pace
        tally.follow(TransferProgress(transfer=step, plain_bytes=plain_bytes))
        assert tally.current
        assert tally.current.done == tally.overall.done == plain_bytes
        for gauge in (tally.current, tally.overall):
            assert gauge.rate is None or gauge.rate >= 0
            assert gauge.seconds_left is None or gauge.seconds_left >= 0


def test_the_time_left_follows_from_the_bytes_left_and_the_speed() -> None:
    clock = Clock()
    tally = Tally(clock)
    step = transfer(ONE, size=Size(10 * KIB))
    tally.follow(TransferStarted(transfer=step, number=1, count=1))
    clock.now += 4
    tally.follow(TransferProgress(transfer=step, plain_bytes=2 * KIB))
    assert tally.overall == tally.current == Gauge(done=2 * KIB, total=Size(10 * KIB), rate=512)
    assert tally.current
    assert tally.current.seconds_left == 16


def test_speed_is_that_of_the_last_half_minute() -> None:
    meter = Speedometer(now=0)
    for second in range(1, 101):
        meter.read(now=second, nbytes=second * 1000)
    for second in range(101, 141):
        meter.read(now=second, nbytes=100_000 + (second - 100) * 10)
    assert meter.rate(now=140) == 10


def test_speed_sinks_while_nothing_comes() -> None:
    meter = Speedometer(now=0)
    meter.read(now=1, nbytes=1000)
    assert meter.rate(now=1) == 1000
    assert meter.rate(now=10) == 100


def test_speed_is_unknown_before_any_time_has_passed() -> None:
    meter = Speedometer(now=5)
    meter.read(now=5, nbytes=1000)
    assert meter.rate(now=5) is None


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 10**9))))
def test_speed_is_never_negative_for_a_counter_that_grows(steps: list[tuple[float, int]]) -> None:
    meter, now, nbytes = Speedometer(now=0), 0.0, 0
    for seconds, more in steps:
        now, nbytes = now + seconds, nbytes + more
        meter.read(now=now, nbytes=nbytes)
        rate = meter.rate(now=now)
        assert rate is None or rate >= 0


def test_measuring_ends_when_the_plan_is_final() -> None:
    tally = Tally(Clock())
    tally.follow(Measuring(done=1, total=2))
    assert tally.measuring == Measuring(done=1, total=2)
    tally.follow(planned())
    assert tally.measuring is None
