from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.errors import CorruptStreamError
from buttersink.stream.format import (
    COMMAND_HEADER,
    COMMANDS,
    MAX_PATH,
    Attribute,
    Command,
    checksum,
    encode_command,
)
from buttersink.stream.guard import StreamGuard
from buttersink.stream.vetting import is_safe_path
from support.stream_samples import (
    FULL,
    INCREMENTAL,
    OTHER,
    PARENT,
    TO,
    A,
    C,
    clone,
    feed,
    full,
    head,
    parse,
    passed,
    split,
    stream,
    u64,
    utimes,
    write,
)

UNSAFE = [
    b"/etc/passwd",
    b"..",
    b"../up",
    b"a/../../up",
    b"a/..",
    b".",
    b"./a",
    b"a/./b",
    b"a//b",
    b"a/",
    b"/",
    b"a\0b",
    b"a" * (MAX_PATH + 1),
]
SAFE = [b"a", b"a/b", b"...", b"a/..b", b".hidden/x..", b"\xff\xfe", b"a b\n", b"a" * MAX_PATH]

PATH_ONLY: dict[Command, list[tuple[Attribute, bytes]]] = {
    C.MKFILE: [(A.INO, u64(1))],
    C.MKDIR: [(A.INO, u64(1))],
    C.MKNOD: [(A.INO, u64(1)), (A.RDEV, u64(1)), (A.MODE, u64(1))],
    C.MKFIFO: [(A.INO, u64(1)), (A.RDEV, u64(1)), (A.MODE, u64(1))],
    C.MKSOCK: [(A.INO, u64(1)), (A.RDEV, u64(1)), (A.MODE, u64(1))],
    C.UNLINK: [],
    C.RMDIR: [],
    C.SET_XATTR: [(A.XATTR_NAME, b"user.x"), (A.XATTR_DATA, b"")],
    C.REMOVE_XATTR: [(A.XATTR_NAME, b"user.x")],
    C.WRITE: [(A.FILE_OFFSET, u64(0)), (A.DATA, b"data")],
    C.TRUNCATE: [(A.SIZE, u64(0))],
    C.CHMOD: [(A.MODE, u64(0o600))],
    C.CHOWN: [(A.UID, u64(0)), (A.GID, u64(0))],
    C.UTIMES: [(A.ATIME, bytes(12)), (A.MTIME, bytes(12)), (A.CTIME, bytes(12))],
    C.FALLOCATE: [(A.FALLOCATE_MODE, bytes(4)), (A.FILE_OFFSET, u64(0)), (A.SIZE, u64(1))],
    C.FILEATTR: [(A.FILEATTR, u64(0))],
    C.ENCODED_WRITE: [
        (A.FILE_OFFSET, u64(0)),
        (A.UNENCODED_FILE_LEN, u64(100)),
        (A.UNENCODED_LEN, u64(100)),
        (A.UNENCODED_OFFSET, u64(0)),
        (A.COMPRESSION, bytes(4)),
        (A.DATA, b"data"),
    ],
    C.ENABLE_VERITY: [(A.VERITY_ALGORITHM, b"\1")],
}
TOP_DIRECTORY = {C.SET_XATTR, C.REMOVE_XATTR, C.CHMOD, C.CHOWN, C.UTIMES, C.FILEATTR}


def on_path(command: Command, path: bytes, version: int = 3) -> bytes:
    return encode_command(command, [(A.PATH, path), *PATH_ONLY[command]], version)


def two_paths(command: Command, name: Attribute, first: bytes, second: bytes) -> bytes:
    return encode_command(command, [(A.PATH, first), (name, second)], 3)


def test_paths_inside_the_snapshot_are_safe_and_others_are_not() -> None:
    assert [path for path in UNSAFE if is_safe_path(path)] == []
    assert [path for path in SAFE if not is_safe_path(path)] == []


@given(st.lists(st.sampled_from([b"", b".", b"..", b"a", b"...", b"\0"]), max_size=5))
def test_a_safe_path_leads_down_with_each_component(components: list[bytes]) -> None:
    expected = bool(components) and not {b"", b".", b"..", b"\0"} & set(components)
    assert is_safe_path(b"/".join(components)) == expected


@pytest.mark.parametrize("command", PATH_ONLY)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_no_command_names_a_path_outside(command: Command, version: int) -> None:
    if command not in COMMANDS[version]:
        with pytest.raises(CorruptStreamError, match=f"command {command:d} is unknown"):
            passed(full(on_path(command, b"a"), version=version))
        return
    for path in SAFE:
        data = full(on_path(command, path, version), version=version)
        assert passed(data) == data
    for path in UNSAFE:
        data = full(on_path(command, path, version), version=version)
        with pytest.raises(CorruptStreamError, match=f"{command.name} at byte .*: unsafe path"):
            passed(data)


@pytest.mark.parametrize(
    ("command", "name"),
    [(C.RENAME, A.PATH_TO), (C.LINK, A.PATH_LINK), (C.CHMOD, A.PATH_TO), (C.WRITE, A.CLONE_PATH)],
)
def test_no_second_path_of_a_command_leads_outside(command: Command, name: Attribute) -> None:
    good = full(two_paths(command, name, b"a", b"b/c"), version=3)
    assert passed(good) == good
    for path in (*UNSAFE, b""):
        for first, second in ((b"a", path), (path, b"a")):
            if (second, command) == (b"a", C.CHMOD) and not path:
                continue  # the mode of the top directory
            with pytest.raises(CorruptStreamError, match="unsafe path"):
                passed(full(two_paths(command, name, first, second), version=3))


@pytest.mark.parametrize("path", UNSAFE)
def test_a_clone_neither_reads_nor_writes_outside(path: bytes) -> None:
    for command in (clone(TO, path=path), clone(TO, source_path=path)):
        with pytest.raises(CorruptStreamError, match=r"CLONE at byte .*: unsafe path"):
            passed(full(command))


@pytest.mark.parametrize("command", PATH_ONLY)
def test_only_attributes_of_the_top_directory_are_set_by_the_empty_path(command: Command) -> None:
    data = full(on_path(command, b""), version=3)
    if command in TOP_DIRECTORY:
        assert passed(data) == data
    else:
        with pytest.raises(CorruptStreamError, match="unsafe path ''"):
            passed(data)


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../..", b"a//b", b"", b"a" * MAX_PATH])
def test_the_target_of_a_symbolic_link_is_free_text(target: bytes) -> None:
    data = full(two_paths(C.SYMLINK, A.PATH_LINK, b"link", target))
    assert passed(data) == data


@pytest.mark.parametrize("target", [b"a\0b", b"a" * (MAX_PATH + 1)])
def test_an_impossible_target_of_a_symbolic_link_is_refused(target: bytes) -> None:
    with pytest.raises(CorruptStreamError, match="symbolic link"):
        passed(full(two_paths(C.SYMLINK, A.PATH_LINK, b"link", target)))


@pytest.mark.parametrize("version", [1, 2])
def test_a_second_path_hidden_where_a_known_attribute_is_expected_is_found(version: int) -> None:
    for evil in (b"../../etc/x!", b"harmless/abc"):  # as long as a time
        times = [(A.ATIME, bytes(12)), (A.PATH, evil), (A.CTIME, bytes(12)), (A.OTIME, bytes(12))]
        attributes = [(A.PATH, b"a"), *times[: 3 if version == 1 else 4]]
        with pytest.raises(CorruptStreamError, match="PATH stands there twice"):
            passed(full(encode_command(C.UTIMES, attributes, version), version=version))


@pytest.mark.parametrize("command", [c for c in PATH_ONLY if c <= C.UTIMES and c != C.WRITE])
def test_a_second_path_appended_to_a_command_is_found(command: Command) -> None:
    attributes = [(A.PATH, b"a"), *PATH_ONLY[command], (A.PATH, b"../up")]
    with pytest.raises(CorruptStreamError, match="PATH stands there twice"):
        passed(full(encode_command(command, attributes, 1)))


@pytest.mark.parametrize("command", PATH_ONLY)
def test_another_attribute_in_the_place_of_the_path_is_not_taken_for_it(command: Command) -> None:
    with pytest.raises(CorruptStreamError, match="PATH is missing"):
        passed(
            full(encode_command(command, [(A.CTRANSID, b"a"), *PATH_ONLY[command]], 3), version=3)
        )


@given(st.data())
def test_no_order_or_mix_of_attributes_smuggles_a_path_past_the_guard(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from([1, 2]))
    command = data.draw(st.sampled_from([c for c in PATH_ONLY if c <= C.UTIMES]))
    names = st.sampled_from([A.PATH, A.PATH_TO, A.INO, A.MODE, A.SIZE, A.UID, A.FILE_OFFSET])
    values = st.sampled_from([b"../abcd!", b"a/b/c/d!", bytes(8), b"", b"a"])
    attributes = data.draw(st.lists(st.tuples(names, values), max_size=4))
    plain = full(encode_command(command, attributes, version), version=version)
    bad = any(name in (A.PATH, A.PATH_TO) and not is_safe_path(path) for name, path in attributes)
    top = command in TOP_DIRECTORY and dict(attributes).get(A.PATH) == b""
    if bad and not top:
        with pytest.raises(CorruptStreamError):
            passed(plain)


@given(st.sampled_from([C.WRITE, C.UTIMES, C.CHOWN, C.MKFILE, C.UNLINK, C.CHMOD]), st.binary())
def test_a_body_of_any_bytes_passes_whole_or_is_refused(command: Command, body: bytes) -> None:
    crc = checksum(len(body), command, body)
    data = full(COMMAND_HEADER.pack(len(body), command, crc) + body)
    try:
        assert passed(data) == data
    except CorruptStreamError:
        return
    path = parse(split(data)[1], 1)[1][A.PATH]
    assert is_safe_path(path) or (not path and command in TOP_DIRECTORY)


def test_a_write_whose_length_field_lies_is_refused() -> None:
    body = bytearray(write(b"a", b"data")[10:])
    body[-6] += 1  # the length of DATA, now beyond the command
    whole = COMMAND_HEADER.pack(len(body), C.WRITE, checksum(len(body), C.WRITE, bytes(body)))
    with pytest.raises(CorruptStreamError, match="DATA reaches beyond"):
        passed(full(whole + bytes(body)))


def test_a_path_is_checked_again_after_another_one_was_good() -> None:
    with pytest.raises(CorruptStreamError, match="unsafe path"):
        passed(full(utimes(b"a"), utimes(b"a"), utimes(b"../a"), utimes(b"a")))


def test_a_path_good_for_one_command_is_not_good_for_all() -> None:
    with pytest.raises(CorruptStreamError, match="MKFILE at byte"):
        passed(full(utimes(b""), on_path(C.MKFILE, b"", 1)))


def test_clones_from_the_snapshot_itself_and_its_parent_pass() -> None:
    data = stream(head(parent=PARENT), clone(PARENT), clone(TO))
    assert passed(data, INCREMENTAL) == data


def test_a_clone_from_any_other_snapshot_is_refused() -> None:
    with pytest.raises(CorruptStreamError, match=f"clone from outside: .*{OTHER}"):
        passed(stream(head(parent=PARENT), clone(OTHER)), INCREMENTAL)
    with pytest.raises(CorruptStreamError, match="clone from outside"):
        passed(full(clone(PARENT)))


def test_a_clone_from_nowhere_is_refused() -> None:
    with pytest.raises(CorruptStreamError, match="CLONE_UUID is missing"):
        passed(full(encode_command(C.CLONE, [(A.PATH, b"a"), (A.CLONE_PATH, b"b")], 1)))


@pytest.mark.parametrize("number", [0, 27, 1000, 65535])
def test_unknown_commands_are_refused(number: int) -> None:
    for version in (1, 2, 3):
        data = full(encode_command(number, [(A.PATH, b"a")], version), version=version)
        message = f"command {number} is unknown in stream version {version}"
        with pytest.raises(CorruptStreamError, match=message):
            passed(data)


def test_a_stream_without_file_data_is_refused() -> None:
    attributes = [(A.PATH, b"a"), (A.FILE_OFFSET, u64(0)), (A.SIZE, u64(1))]
    with pytest.raises(CorruptStreamError, match="without file data"):
        passed(full(encode_command(C.UPDATE_EXTENT, attributes, 1)))


@pytest.mark.parametrize("command", [c for c in Command if c not in (C.SUBVOL, C.SNAPSHOT, C.END)])
def test_a_command_without_a_path_is_refused(command: Command) -> None:
    with pytest.raises(CorruptStreamError):
        passed(full(encode_command(command, [], 3), version=3))


def test_a_compressed_extent_counts_as_the_writes_it_would_have_been() -> None:
    def encoded(size: bytes) -> bytes:
        attributes = [(A.PATH, b"file"), (A.UNENCODED_FILE_LEN, size), (A.DATA, b"zstd")]
        return encode_command(C.ENCODED_WRITE, attributes, 2)

    for size in (1, 4096, 131_072, 131_073, 400_000):
        guard = StreamGuard(FULL)
        data = full(encoded(u64(size)), version=2)
        assert feed(guard, [data]) == data
        plain = [
            write(b"file", bytes(min(131_072, size - at)), version=2)
            for at in range(0, size, 131_072)
        ]
        assert guard.plain_bytes == len(full(*plain, version=2))
        assert guard.passed_bytes == len(data)
    with pytest.raises(CorruptStreamError, match="UNENCODED_FILE_LEN"):
        passed(full(encoded(b"short"), version=2))


def test_a_long_bad_path_is_shown_shortened() -> None:
    with pytest.raises(CorruptStreamError) as error:
        passed(full(utimes(b"/" + b"\xff" * 5000)))
    assert len(error.value.message) < 500
    assert "bytes more" in error.value.message
