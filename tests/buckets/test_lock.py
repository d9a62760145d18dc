"""Two can never hold a folder of a bucket, and a dead one does not hold it for ever."""

import json

import pytest

from vox2pix.buckets import as_path, lock
from vox2pix.buckets.lock import BucketLock
from vox2pix.errors import UserError


@pytest.fixture
def place(s3):
    return as_path(f"s3://{s3.new_bucket()}/runs/one/.lock", signed=True)


def test_a_second_run_is_refused_and_told_whose_the_lock_is(place):
    first, second = BucketLock(place, "one"), BucketLock(place, "two")
    first.acquire()
    with pytest.raises(UserError, match=r"Another run is at work in .*/runs/one \(process \d+ on"):
        second.acquire()
    first.beat()
    assert not first.is_lost
    first.release()
    second.acquire()
    assert json.loads(place.read_text())["copy"] == "two"


def test_a_lock_that_is_not_renewed_ends_and_its_owner_notices(place, monkeypatch):
    first, second = BucketLock(place, "one"), BucketLock(place, "two")
    first.acquire()
    monkeypatch.setattr(lock, "EXPIRY_SECONDS", -1.0)
    second.acquire()
    first.beat()
    assert first.is_lost and not second.is_lost
    first.release()
    assert place.exists()  # it is the other's
    second.beat()
    assert not second.is_lost


def test_the_owner_of_the_same_working_copy_goes_on_at_once(place):
    BucketLock(place, "one").acquire()  # and dies
    BucketLock(place, "one").acquire()


def test_a_request_whose_answer_was_lost_does_not_lock_its_sender_out(s3, place):
    from buckets.server import Fault

    s3.proxy.faults.append(Fault("cut", ".lock", "PUT"))
    first = BucketLock(place, "one")
    first.acquire()
    first.beat()
    assert not first.is_lost


def test_a_lock_renewed_since_it_was_looked_at_cannot_be_taken(place, monkeypatch):
    first, second = BucketLock(place, "one"), BucketLock(place, "two")
    first.acquire()
    monkeypatch.setattr(lock, "EXPIRY_SECONDS", -1.0)
    look = second._look

    def look_and_wait():
        found = look()
        first.beat()
        return found

    monkeypatch.setattr(second, "_look", look_and_wait)
    with pytest.raises(UserError, match="Another run is at work"):
        second.acquire()
    first.beat()
    assert not first.is_lost
