"""Requests that fail in passing, of every kind and in every way: a run gets over them by itself."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from buttersink.settings import Settings
from support.command import buttersink
from support.faults import Answer, Cut, Fault, LoseAnswer, Side, Slow, Stall
from support.history import simple_history
from support.proxy import S3Proxy
from support.stored_ends import BucketEnd, assert_restores, streams
from support.stored_runs import (
    MIB,
    STORING,
    Bucket,
    Contents,
    Goal,
    Ran,
    endpoint_port,
    memory_source,
    random_contents,
    run,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from support.faults import Action
    from support.loopfs import LoopFs
    from support.s3_servers import S3Server

KINDS = [
    *("ListObjectsV2", "ListMultipartUploads", "ListParts", "GetObject", "HeadObject"),
    *("CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload"),
    *("AbortMultipartUpload", "CopyObject", "PutObject", "DeleteObject"),
]
OFTEN = frozenset({"CreateMultipartUpload", "UploadPart", "PutObject", "CompleteMultipartUpload"})
"""Of which more are spoiled: not all of them are for the same purpose."""
REPEATED = [
    *("ListObjectsV2", "GetObject", "UploadPart", "CompleteMultipartUpload", "CopyObject"),
    *("PutObject", "DeleteObject"),
]
"""Of which some are spoiled twice, which takes long."""


def first_attempts(kind: str, *actions: Action) -> list[Fault]:
    """Spoil some requests of a kind, but not when they are sent again."""
    count = 3 if kind in OFTEN else len(actions)
    return [
        Fault(action=actions[number % len(actions)], operation=kind, first=1 + 2 * number)
        for number in range(count)
    ]


def of_each_kind(*actions: Action) -> list[Fault]:
    return [fault for kind in KINDS for fault in first_attempts(kind, *actions)]


TROUBLES: dict[str, list[Fault]] = {
    "none": [],
    "internal errors": of_each_kind(Answer(500, "InternalError")),
    "too many requests": [
        Fault(action=Answer(503, "SlowDown"), operation=kind, times=2) for kind in REPEATED
    ],
    "requests that are lost": of_each_kind(Cut(Side.REQUEST, 0)),
    "requests that break off": of_each_kind(Cut(Side.REQUEST, 9), Cut(Side.REQUEST, 2 * MIB)),
    "answers that are lost": of_each_kind(LoseAnswer()),
    "answers that break off": of_each_kind(Cut(Side.RESPONSE, 0), Cut(Side.RESPONSE, 99)),
    "a bad line": [
        Fault(action=action, operation=kind, times=3)
        for kind in KINDS
        for side in Side
        for action in (Stall(0.1, side), Slow(side, 9 * MIB))
    ],
}
ORPHANS = {"answers that break off", "answers that are lost"}
"""In which nobody hears of an upload that was begun: it stays open, for --delete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What became of a bucket with which everything was done that can be.

    Attributes:
        stored: The run that stored all, going on from an upload that had failed.
        restored: The run that restored all.
        removed: The run that moved a part of it to the trash.
        contents: What was restored.
        objects: SHA-256 of the streams at the end, by key; those in the trash, too.
        receipts: What the receipts say of the objects, likewise.
        keys: All keys at the end.
        uploads: Keys of uploads that are still open.
        journals: Records of uploads that are still there.
        requests: How many there were of each kind.
    """

    stored: Ran
    restored: Ran
    removed: Ran
    contents: Contents
    objects: Mapping[str, str]
    receipts: Mapping[str, str]
    keys: list[str]
    uploads: list[str]
    journals: list[str]
    requests: Counter[str]


CONTENTS = random_contents(large=11 * MIB)
KEPT = {path: CONTENTS[path] for path in ("home/1", "home/2")}


def live(server: S3Server, state: Path, faults: list[Fault]) -> Life:
    """Store, restore and remove, while requests are spoiled."""
    with S3Proxy(endpoint_port(server)) as proxy:
        bucket = Bucket(server, state, endpoint_url=proxy.url)
        leave_an_upload(bucket, proxy)
        proxy.inject(*faults)
        goal = Goal()
        with bucket.store() as store:
            stored = run(memory_source(CONTENTS), store)
        with bucket.store() as store:
            restored = run(store, goal.store)
        with bucket.store() as store:
            settings = Settings(storing=STORING, delete=True, force=True)
            removed = run(memory_source(KEPT), store, settings)
        keys = bucket.stored_keys()
        return Life(
            stored=stored,
            restored=restored,
            removed=removed,
            contents=goal.contents(),
            objects={k: sha256(bucket.read(k)) for k in keys if k.endswith(".zst")},
            receipts={
                key.removesuffix(".json"): json.loads(bucket.read(key))["object"]["sha256"]
                for key in keys
                if key.endswith(".json")
            },
            keys=keys,
            uploads=bucket.uploads(),
            journals=bucket.journals(),
            requests=proxy.counts(),
        )


def leave_an_upload(bucket: Bucket, proxy: S3Proxy) -> None:
    """Let a run fail after the first part of "home/1"."""
    # Two parts are to try out the service; the third one after them waits for one of the first.
    proxy.inject(Fault(action=Answer(403, "AccessDenied"), operation="UploadPart", first=5))
    with bucket.store() as store:
        assert run(memory_source({"home/1": CONTENTS["home/1"]}), store).status == 3
    proxy.forget_faults()
    assert len(bucket.uploads()) == 1


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def lives(
    seaweed: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Life]]]:
    """Return all lives, which are lived at once, as each of them waits most of the time."""
    with ThreadPoolExecutor(len(TROUBLES)) as pool:
        yield {
            name: pool.submit(live, seaweed, tmp_path_factory.mktemp("state"), faults)
            for name, faults in TROUBLES.items()
        }


@pytest.mark.parametrize("trouble", TROUBLES)
class TestAPassingFailure:
    def test_is_not_noticed(self, lives: Mapping[str, Future[Life]], trouble: str) -> None:
        life = lives[trouble].result()
        for ran in (life.stored, life.restored, life.removed):
            assert (ran.status, ran.told()) == (0, "")
        assert life.contents == CONTENTS

    def test_changes_nothing_of_what_is_stored(
        self, lives: Mapping[str, Future[Life]], trouble: str
    ) -> None:
        life, undisturbed = lives[trouble].result(), lives["none"].result()
        assert life.objects == life.receipts == undisturbed.objects
        assert life.keys == undisturbed.keys

    def test_leaves_nothing_behind(self, lives: Mapping[str, Future[Life]], trouble: str) -> None:
        life = lives[trouble].result()
        assert life.journals == []
        assert not life.uploads or trouble in ORPHANS

    def test_does_not_keep_uploads_from_being_gone_on_with(
        self, lives: Mapping[str, Future[Life]], trouble: str
    ) -> None:
        life = lives[trouble].result()
        assert life.stored.done["home/1"].resumed_bytes >= 5 * MIB
        assert life.requests.keys() >= {*KINDS}


def test_the_command_stores_and_restores_though_answers_are_lost(
    fs_a: LoopFs, fs_b: LoopFs, seaweed: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    originals = {path.name: path for path in simple_history(fs_a, 2, size=6 * MIB)}
    end = BucketEnd(seaweed)
    with S3Proxy(endpoint_port(seaweed)) as proxy:
        for kind in ("UploadPart", "CompleteMultipartUpload", "PutObject", "GetObject"):
            proxy.inject(Fault(action=LoseAnswer(), operation=kind))
        at_proxy = ("--endpoint-url", proxy.url)
        stored = buttersink(*at_proxy, "--part-size", "5", f"{fs_a.path}/snaps/", end.url)
        assert stored.status == 0, stored
        assert "already" not in stored.stderr
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        assert_restores(end, originals, fs_b.path / "restored")
        assert proxy.counts()["CompleteMultipartUpload"] == 2
    assert len(streams(end)) == 2
