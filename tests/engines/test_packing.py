"""Batches for a GPU: cut, put into buckets, and packed into one buffer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.packing import ALIGNMENT, BUCKETS, Packing, bucket_of, in_parts, row_count


@pytest.mark.parametrize(
    ("count", "bucket"), [(1, 1), (2, 8), (7, 8), (8, 8), (9, 32), (32, 32), (33, 128), (128, 128), (129, 256), (255, 256), (256, 256)]
)
def test_a_batch_goes_into_the_smallest_bucket_that_holds_it(count, bucket):
    assert bucket_of(count) == bucket


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1]), (256, [256]), (257, [256, 1]), (300, [256, 44]), (512, [256, 256]), (513, [256, 256, 1])]
)
def test_more_rows_than_the_largest_bucket_are_cut_in_order(count, sizes):
    feed = {"a": np.arange(count), "b": np.arange(count * 2).reshape(count, 2)}
    parts = list(in_parts(feed, BUCKETS[-1]))
    assert [row_count(part) for part in parts] == sizes
    for name, rows in feed.items():
        assert np.array_equal(np.concatenate([part[name] for part in parts]), rows)


def test_inputs_lie_one_behind_the_other_each_on_an_alignment():
    packing = Packing({"a": 1, "b": ALIGNMENT, "c": ALIGNMENT + 1})
    assert packing.places == {"a": slice(0, 1), "b": slice(256, 512), "c": slice(512, 769)}
    assert packing.total == 1024


def test_behind_the_rows_there_is_nothing_of_the_batch_before():
    packing = Packing({"a": 8, "b": 4})
    buffer = np.full(packing.total, 0xFF, np.uint8)
    packing.fill(buffer, {"a": np.array([7], np.int32), "b": np.array([1, 2], np.uint8)})
    assert buffer[packing.places["a"]].tolist() == [7, 0, 0, 0, 0, 0, 0, 0]
    assert buffer[packing.places["b"]].tolist() == [1, 2, 0, 0]


ARRAYS = st.tuples(st.sampled_from(["uint8", "int64", "float32", "float64"]), st.lists(st.integers(1, 5), max_size=3))


@given(st.lists(ARRAYS, min_size=1, max_size=4), st.integers(1, 9), st.integers(0, 4))
def test_every_input_is_read_back_from_its_place_as_it_was(arrays, count, room):
    rng = np.random.default_rng(0)
    feed = {str(n): rng.integers(0, 200, (count, *shape)).astype(dtype) for n, (dtype, shape) in enumerate(arrays)}
    packing = Packing({name: rows.nbytes // count * (count + room) for name, rows in feed.items()})
    buffer = np.full(packing.total, 0xFF, np.uint8)
    packing.fill(buffer, feed)
    for name, rows in feed.items():
        found = buffer[packing.places[name]].view(rows.dtype).reshape(count + room, *rows.shape[1:])
        assert np.array_equal(found[:count], rows)
        assert not found[count:].any()


def test_rows_that_do_not_lie_together_are_packed_as_they_read():
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    packing = Packing({"a": rows.nbytes})
    buffer = np.zeros(packing.total, np.uint8)
    packing.fill(buffer, {"a": rows})
    assert buffer[packing.places["a"]].view(np.float32).tolist() == [0, 2, 4, 6, 8, 10]
