"""Each command must have its attributes, with values that can be, and no others."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import (
    ATTRIBUTES,
    COMMAND_HEADER,
    COMMAND_HEADER_SIZE,
    MAX_PATH,
    Attribute,
    Command,
    checksum,
    encode_command,
)
from support.command_samples import IGNORED, VARIABLE, Sample, examples, samples
from support.decoding import decoded
from support.stream_samples import INCREMENTAL, PARENT, TO, A, C, head, stream, u64

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.recorded_calls import Call

EXAMPLES = [
    pytest.param(sample, version, id=f"{sample.command.name}-{version}")
    for version in (1, 2, 3)
    for sample in examples(version)
]
EACH = pytest.mark.parametrize(("sample", "version"), EXAMPLES)
OPTIONAL = {C.ENCODED_WRITE: {A.COMPRESSION, A.ENCRYPTION}}
"""Attributes that may be missing and then count as 0 (send.h of the kernel)."""

TOP_DIRECTORY = {C.SET_XATTR, C.REMOVE_XATTR, C.CHMOD, C.CHOWN, C.UTIMES, C.FILEATTR}


def calls_of(
    command: Command, attributes: Iterable[tuple[Attribute, bytes]], version: int
) -> list[Call]:
    """Return the calls that a stream with this command stands for."""
    last = sorted(attributes, key=lambda attribute: attribute[0] is A.DATA)
    made = encode_command(command, last, version)
    data = stream(head(parent=PARENT, version=version), made, version=version)
    return decoded(data, INCREMENTAL)[1]


def changed(sample: Sample, attribute: Attribute, value: bytes) -> list[tuple[Attribute, bytes]]:
    """Return the attributes of a command with another value of one of them."""
    return [(name, value if name is attribute else old) for name, old in sample.attributes]


def example(command: Command) -> Sample:
    return next(sample for sample in examples(3) if sample.command is command)


def refused(command: Command, changes: dict[Attribute, bytes], message: str) -> None:
    """Check that a command with other values than in its example is refused."""
    attributes = [(name, changes.get(name, old)) for name, old in example(command).attributes]
    with pytest.raises(CorruptStreamError, match=message):
        calls_of(command, attributes, 3)


@EACH
def test_a_command_as_the_kernel_makes_it_becomes_its_call(sample: Sample, version: int) -> None:
    assert calls_of(sample.command, sample.attributes, version) == [sample.call]


@given(st.data())
def test_the_order_of_attributes_makes_no_difference(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from([1, 2, 3]))
    sample = data.draw(samples(version))
    attributes = data.draw(st.permutations(sample.attributes))
    assert calls_of(sample.command, attributes, version) == [sample.call]


@EACH
def test_what_a_call_needs_must_not_be_missing(sample: Sample, version: int) -> None:
    needless = IGNORED.get(sample.command, set()) | OPTIONAL.get(sample.command, set())
    for missing, _ in sample.attributes:
        attributes = [each for each in sample.attributes if each[0] is not missing]
        if missing in needless:
            assert [call[:2] for call in calls_of(sample.command, attributes, version)] == [
                sample.call[:2]
            ]
        else:
            with pytest.raises(CorruptStreamError, match=f"{missing.name} is missing"):
                calls_of(sample.command, attributes, version)


def test_a_compressed_extent_without_its_kinds_has_none() -> None:
    sample = example(C.ENCODED_WRITE)
    attributes = [each for each in sample.attributes if each[0] not in OPTIONAL[C.ENCODED_WRITE]]
    assert calls_of(C.ENCODED_WRITE, attributes, 2) == [(*sample.call[:-2], 0, 0)]


@EACH
def test_attributes_of_the_wrong_size_are_refused(sample: Sample, version: int) -> None:
    for attribute, value in sample.attributes:
        if attribute not in VARIABLE:
            for wrong in (b"", value[:-1], value + b"\0", value * 2):
                message = f"{attribute.name} has {len(wrong)} bytes, not {len(value)}"
                with pytest.raises(CorruptStreamError, match=message):
                    calls_of(sample.command, changed(sample, attribute, wrong), version)


@EACH
def test_an_attribute_that_stands_there_twice_is_refused(sample: Sample, version: int) -> None:
    for doubled in sample.attributes:
        for attributes in ([*sample.attributes, doubled], [doubled, *sample.attributes]):
            if doubled[0] is A.DATA and version > 1:
                continue  # the first reaches to the end
            with pytest.raises(CorruptStreamError, match=f"{doubled[0].name} stands there twice"):
                calls_of(sample.command, attributes, version)


@EACH
def test_attributes_of_other_commands_are_refused(sample: Sample, version: int) -> None:
    own = {name for name, _ in sample.attributes} | {A.OTIME}
    strays = {name: value for each in examples(version) for name, value in each.attributes}
    for stray, value in strays.items():
        if stray not in own and not (stray is A.DATA and version > 1):
            with pytest.raises(CorruptStreamError, match=f"{stray.name} is no attribute of"):
                calls_of(sample.command, [*sample.attributes, (stray, value)], version)


@EACH
def test_an_attribute_in_the_place_of_another_is_refused(sample: Sample, version: int) -> None:
    for at, (name, value) in enumerate(sample.attributes):
        for other in ATTRIBUTES[version].values():
            twice = other is A.DATA and other in dict(sample.attributes)  # cannot be encoded
            if other is not name and {name, other} != {A.CTIME, A.OTIME} and not twice:
                attributes = list(sample.attributes)
                attributes[at] = (other, value)
                with pytest.raises(CorruptStreamError):
                    calls_of(sample.command, attributes, version)


def test_the_time_of_creation_is_ignored_in_any_version() -> None:
    sample = next(each for each in examples(1) if each.command is C.UTIMES)
    attributes = [*sample.attributes, (A.OTIME, bytes(12))]
    assert calls_of(C.UTIMES, attributes, 1) == [sample.call]


@EACH
def test_a_command_cut_off_anywhere_is_refused(sample: Sample, version: int) -> None:
    if A.DATA in dict(sample.attributes) and version > 1:
        sample = Sample(sample.command, tuple(changed(sample, A.DATA, b"")), sample.call)
    whole = sample.encoded(version)
    body = whole[COMMAND_HEADER_SIZE:]
    for size in range(len(body)):
        cut = encode_whole(sample.command, body[:size])
        data = stream(head(parent=PARENT, version=version), cut, version=version)
        try:
            calls = decoded(data, INCREMENTAL)[1]
        except CorruptStreamError:
            continue
        # Only what the call has nothing of can be cut off unnoticed.
        assert calls == [sample.call]
        assert IGNORED[sample.command]


def encode_whole(command: Command, body: bytes) -> bytes:
    """Return a command with any body and the right checksum."""
    return COMMAND_HEADER.pack(len(body), command, checksum(len(body), command, body)) + body


UNSAFE = [b"/etc/passwd", b"..", b"../up", b"a/../up", b".", b"a//b", b"a/", b"a\0", b"a" * 4096]


@EACH
def test_paths_that_reach_outside_are_refused(sample: Sample, version: int) -> None:
    for attribute in (A.PATH, A.PATH_TO, A.PATH_LINK, A.CLONE_PATH):
        free_text = sample.command is C.SYMLINK and attribute is A.PATH_LINK
        if attribute in dict(sample.attributes) and not free_text:
            for path in UNSAFE:
                with pytest.raises(CorruptStreamError, match="unsafe path"):
                    calls_of(sample.command, changed(sample, attribute, path), version)


@EACH
def test_only_attributes_can_be_set_on_the_top_directory(sample: Sample, version: int) -> None:
    for attribute in (A.PATH, A.PATH_TO, A.PATH_LINK, A.CLONE_PATH):
        if attribute in dict(sample.attributes):
            attributes = changed(sample, attribute, b"")
            if sample.command in TOP_DIRECTORY:
                ((name, *rest),) = calls_of(sample.command, attributes, version)
                assert (name, *rest[1:]) == (sample.call[0], *sample.call[2:])
                assert rest[0] == b""
            else:
                with pytest.raises(CorruptStreamError, match=r"unsafe path ''|impossible"):
                    calls_of(sample.command, attributes, version)


def test_a_path_that_was_right_for_one_command_is_not_for_another() -> None:
    top = encode_command(C.CHMOD, [(A.PATH, b""), (A.MODE, u64(0o700))], 1)
    data = stream(head(parent=PARENT), top, top, encode_command(C.RMDIR, [(A.PATH, b"")], 1))
    with pytest.raises(CorruptStreamError, match=r"RMDIR at byte .*: unsafe path"):
        decoded(data, INCREMENTAL)


@pytest.mark.parametrize("target", [b"/", b"..", b"a//b/", b"x" * MAX_PATH])
def test_the_target_of_a_symbolic_link_is_free_text(target: bytes) -> None:
    attributes = changed(example(C.SYMLINK), A.PATH_LINK, target)
    assert calls_of(C.SYMLINK, attributes, 1) == [("symlink", b"dir/link", target)]


@pytest.mark.parametrize("target", [b"", b"a\0b", b"x" * (MAX_PATH + 1)])
def test_a_target_that_no_link_can_have_is_refused(target: bytes) -> None:
    refused(C.SYMLINK, {A.PATH_LINK: target}, "target of a symbolic link is impossible")


@pytest.mark.parametrize("command", [C.SET_XATTR, C.REMOVE_XATTR])
@pytest.mark.parametrize("name", [b"", b"user.x\0y", b"user." + b"x" * 251])
def test_names_that_no_extended_attribute_can_have_are_refused(
    command: Command, name: bytes
) -> None:
    refused(command, {A.XATTR_NAME: name}, "no extended attribute can have the name")


def test_extended_attributes_may_be_as_large_as_the_format_allows() -> None:
    name, data = b"user." + b"x" * 250, bytes(0xFFFF)
    attributes = [(A.PATH, b"a"), (A.XATTR_NAME, name), (A.XATTR_DATA, data)]
    assert calls_of(C.SET_XATTR, attributes, 1) == [("set_xattr", b"a", name, data)]


@pytest.mark.parametrize("mode", [0o100644, 0o40755, 0o10644, 0o120777, 0o140755, 0o644, 0o1020644])
def test_a_node_that_is_no_device_is_refused(mode: int) -> None:
    refused(C.MKNOD, {A.MODE: u64(mode)}, "not that of a device node")


def test_a_device_number_beyond_the_kernels_is_refused() -> None:
    refused(C.MKNOD, {A.RDEV: u64(1 << 32)}, "no device has the number 0x100000000")


@pytest.mark.parametrize("mode", [0o4755, 0o104755, 0o20004755, 2**64 - 0o10000 + 0o4755])
def test_of_a_mode_only_the_permissions_count(mode: int) -> None:
    attributes = [(A.PATH, b"a"), (A.MODE, u64(mode))]
    assert calls_of(C.CHMOD, attributes, 1) == [("chmod", b"a", 0o4755)]


@pytest.mark.parametrize("owner", [2**32 - 1, 2**32, 2**64 - 1])
def test_owners_that_cannot_be_are_refused(owner: int) -> None:
    for attribute in (A.UID, A.GID):
        refused(C.CHOWN, {attribute: u64(owner)}, "there can be no owner")


@pytest.mark.parametrize("attribute", [A.ATIME, A.MTIME])
@pytest.mark.parametrize("nanoseconds", [1_000_000_000, 2**32 - 1])
def test_times_with_too_many_nanoseconds_are_refused(
    attribute: Attribute, nanoseconds: int
) -> None:
    refused(C.UTIMES, {attribute: struct.pack("<qI", 5, nanoseconds)}, "second's fraction")


LAST = 2**63 - 1


@pytest.mark.parametrize(
    ("command", "changes"),
    [
        (C.WRITE, {A.FILE_OFFSET: LAST, A.DATA: 0}),
        (C.TRUNCATE, {A.SIZE: LAST}),
        (C.CLONE, {A.FILE_OFFSET: LAST - 8192, A.CLONE_LEN: 8192}),
        (C.CLONE, {A.CLONE_OFFSET: LAST - 8192, A.CLONE_LEN: 8192}),
        (C.FALLOCATE, {A.FILE_OFFSET: LAST - 8192, A.SIZE: 8192}),
        (C.FALLOCATE, {A.FILE_OFFSET: 0, A.SIZE: LAST}),
        (C.ENCODED_WRITE, {A.FILE_OFFSET: LAST - 100, A.UNENCODED_FILE_LEN: 100}),
        (C.ENCODED_WRITE, {A.UNENCODED_LEN: LAST}),
    ],
)
def test_nothing_is_beyond_the_last_offset_of_a_file(
    command: Command, changes: dict[Attribute, int]
) -> None:
    values = {
        name: bytes(value) if name is A.DATA else u64(value) for name, value in changes.items()
    }
    attributes = [(name, values.get(name, old)) for name, old in example(command).attributes]
    assert len(calls_of(command, attributes, 2)) == 1
    for name, value in changes.items():
        if name is A.DATA:
            refused(command, {**values, name: bytes(value + 1)}, "are in no file")
        else:
            for more in (value + 1, 2**64 - 1):
                refused(command, {**values, name: u64(more)}, "are in no file")


def test_a_compressed_extent_has_what_the_file_gets_of_it() -> None:
    sizes = {A.UNENCODED_LEN: 131_072, A.UNENCODED_OFFSET: 4096, A.UNENCODED_FILE_LEN: 126_976}
    values = {name: u64(size) for name, size in sizes.items()}
    attributes = [(name, values.get(name, v)) for name, v in example(C.ENCODED_WRITE).attributes]
    assert len(calls_of(C.ENCODED_WRITE, attributes, 2)) == 1
    for name in (A.UNENCODED_OFFSET, A.UNENCODED_FILE_LEN):
        wrong = {**values, name: u64(sizes[name] + 1)}
        refused(C.ENCODED_WRITE, wrong, "of an extent that has 131072")


def test_a_clone_has_its_source() -> None:
    for source in (TO, PARENT):
        attributes = changed(example(C.CLONE), A.CLONE_UUID, source.bytes)
        assert calls_of(C.CLONE, attributes, 1)[0][4] == source
    refused(C.CLONE, {A.CLONE_UUID: bytes(16)}, "clone from outside")
