"""The command line as a value."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import ExitCode, UsageError
from buttersink.linking import Linking, Patience
from buttersink.location import parse_location
from buttersink.model import Receiver
from buttersink.options import Options, parse_options
from buttersink.receiving import Pace, Receiving
from buttersink.storing import Storing

PLAIN = Options(
    source=parse_location("/src/", is_destination=False),
    destination=parse_location("/dst/", is_destination=True),
    dry_run=False,
    delete=False,
    estimate=False,
    quiet=0,
    logfile=None,
    excludes=(),
    only=(),
    bytes_per_second=None,
    json=False,
    create=False,
    force=False,
    storing=Storing(),
    linking=Linking(),
    receiving=Receiving(),
)


class TestOptions:
    def test_are_all_off_if_none_is_given(self) -> None:
        assert parse_options(["/src/", "/dst/"]) == PLAIN

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["-n"], replace(PLAIN, dry_run=True)),
            (["--dry-run"], replace(PLAIN, dry_run=True)),
            (["-d"], replace(PLAIN, delete=True)),
            (["--delete"], replace(PLAIN, delete=True)),
            (["-e"], replace(PLAIN, estimate=True)),
            (["--estimate"], replace(PLAIN, estimate=True)),
            (["-q"], replace(PLAIN, quiet=1)),
            (["-qq"], replace(PLAIN, quiet=2)),
            (["-q", "--quiet"], replace(PLAIN, quiet=2)),
            (["-l", "log"], replace(PLAIN, logfile="log")),
            (["--logfile=log"], replace(PLAIN, logfile="log")),
            (["--part-size", "100"], replace(PLAIN, storing=Storing(part_mib=100))),
            (["--bwlimit", "10M"], replace(PLAIN, bytes_per_second=10 << 20)),
            (["--only", "a"], replace(PLAIN, only=(re.compile("a"),))),
            (["--ssh-command", "ssh -C"], replace(PLAIN, linking=Linking(ssh_command="ssh -C"))),
            (["--remote-command=bs"], replace(PLAIN, linking=Linking(remote_command="bs"))),
            (["--stall-timeout", "2.5"], replace(PLAIN, linking=Linking(stall_seconds=2.5))),
            (
                ["--receiver", "btrfs-progs"],
                replace(PLAIN, receiving=Receiving(receiver=Receiver.BTRFS_PROGS)),
            ),
            (
                ["--checkpoint", "1.5M"],
                replace(PLAIN, receiving=Receiving(pace=Pace(nbytes=3 << 19))),
            ),
            (["--retries", "0"], replace(PLAIN, linking=Linking(patience=Patience(retries=0)))),
            (["--retries", "20"], replace(PLAIN, linking=Linking(patience=Patience(retries=20)))),
            (["--json"], replace(PLAIN, json=True)),
            (["--create"], replace(PLAIN, create=True)),
            (["--force"], replace(PLAIN, force=True)),
            (["-nde"], replace(PLAIN, dry_run=True, delete=True, estimate=True)),
            (
                ["--exclude", "a", "--exclude", "b"],
                replace(PLAIN, excludes=(re.compile("a"), re.compile("b"))),
            ),
        ],
    )
    def test_mean_the_same_wherever_they_stand(
        self, arguments: list[str], expected: Options
    ) -> None:
        assert parse_options([*arguments, "/src/", "/dst/"]) == expected
        assert parse_options(["/src/", *arguments, "/dst/"]) == expected
        assert parse_options(["/src/", "/dst/", *arguments]) == expected

    def test_may_stand_in_any_order(self) -> None:
        for order in permutations(["-n", "-d", "--json"]):
            expected = replace(PLAIN, dry_run=True, delete=True, json=True)
            for place in range(4):
                rest = [*order[:place], "/src/", *order[place:], "/dst/"]
                assert parse_options(rest) == expected

    def test_are_one_frozen_value(self) -> None:
        with pytest.raises(FrozenInstanceError):
            parse_options(["/dst/"]).json = True  # type: ignore[misc] # that is the point

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["-n"],
            ["/a/", "/b/", "/c/"],
            ["/a/", "-n", "/b/", "/c/"],
            ["/a/", "--wrong"],
            ["/a/", "--wrong", "/b/"],
            ["/a/", "--dry"],
            ["/a/", "-l"],
            ["/a/", "--json=yes"],
            ["/a/", "--part-size", "0"],
            ["/a/", "--part-size", "1.5"],
            ["/a/", "--part-size", "²"],
            ["/a/", "--exclude", "["],
        ],
    )
    def test_that_are_wrong_are_refused(self, arguments: list[str]) -> None:
        with pytest.raises(UsageError) as refusal:
            parse_options(arguments)
        assert refusal.value.exit_code is ExitCode.USAGE
        assert refusal.value.message


class TestEnds:
    def test_a_single_one_is_listed(self) -> None:
        options = parse_options(["/dst/"])
        assert options.source is None
        assert (options.destination.directory, options.destination.snapshot) == ("/dst/", None)

    def test_a_single_one_without_a_slash_is_one_snapshot(self) -> None:
        assert parse_options(["/dst/one"]).destination.snapshot == "one"

    def test_a_destination_is_a_directory_with_or_without_a_slash(self) -> None:
        for text in ("/dst/to", "/dst/to/"):
            found = parse_options(["/src/one", text])
            assert (found.destination.directory, found.destination.snapshot) == ("/dst/to/", None)
            assert found.source
            assert found.source.snapshot == "one"

    def test_may_begin_with_a_dash_after_two_dashes(self) -> None:
        options = parse_options(["-n", "--", "-src/", "-dst/"])
        assert options.source
        assert (options.source.text, options.destination.text) == ("-src/", "-dst/")


class TestRates:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("1", 1),
            ("1000", 1000),
            ("1.5K", 1536),
            ("10M", 10 << 20),
            ("10m", 10 << 20),
            ("2G", 2 << 30),
            ("1T", 1 << 40),
            ("10MiB/s", 10 << 20),
            ("10 MB/s", 10 << 20),
            ("500B", 500),
            (" 7k ", 7168),
        ],
    )
    def test_are_read_as_people_write_them(self, text: str, expected: float) -> None:
        assert parse_options(["--bwlimit", text, "/dst/"]).bytes_per_second == expected

    @pytest.mark.parametrize(
        "text", ["", "0", "0.0M", "-1", "fast", "M", "1e3", "10X", "1..5", "nan", "inf", "1,5M"]
    )
    def test_that_are_none_are_refused(self, text: str) -> None:
        with pytest.raises(UsageError):
            parse_options([f"--bwlimit={text}", "/dst/"])

    @given(st.integers(1, 10**12), st.sampled_from("KMGT"))
    def test_count_in_units_of_1024(self, number: int, unit: str) -> None:
        rate = parse_options(["--bwlimit", f"{number}{unit}", "/dst/"]).bytes_per_second
        assert rate == number * 1024 ** ("KMGT".index(unit) + 1)


class TestHelp:
    @pytest.mark.parametrize("argument", ["--help", "-h", "--version", "-V"])
    def test_is_printed_and_ends_well(
        self, argument: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as leaving:
            parse_options([argument])
        assert leaving.value.code == 0
        assert capsys.readouterr().out
