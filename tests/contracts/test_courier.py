"""The queue and the spool behind every sink that sends: nothing is counted twice, and a kill loses nothing that is on disk."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from farends import HookEnd, conserved, ids, made, names, secret_file
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import until

from pipeline.outgoing.courier import Courier
from pipeline.outgoing.spool import Spool

GIVEN = """
import sys
from pathlib import Path
from farends import made
from pipeline.sinks.webhook import Webhook
sink = Webhook(url=f"http://127.0.0.1:{sys.argv[1]}/in", secret_file=Path(sys.argv[2]), spool=Path(sys.argv[3]))
for one in made(0, 20):
    sink.decision(one)
import threading
threading.Event().wait()
"""


class Gated:
    """Takes what it is given when the gate opens, and refuses as many as it is told, by reason."""

    most = 4

    def __init__(self, refused):
        self.asked, self.gate, self._refused = threading.Event(), threading.Event(), refused

    def carry(self, items):
        self.asked.set()
        assert self.gate.wait(10)
        refused, self._refused = self._refused, {}
        return refused

    def tell(self, status):
        pass

    def idle(self):
        pass

    def cancel(self):
        self.gate.set()

    def close(self):
        pass


@pytest.mark.parametrize("refused", [{}, {"a": 1}, {"a": 1, "b": 1}])
@pytest.mark.parametrize("more", [0, 1, 2, 5])
def test_a_decision_that_is_dropped_while_it_is_refused_is_counted_once(refused, more):
    carrier = Gated(refused)
    courier = Courier("gate", carrier, most=2, spool=None, close_s=5)
    with courier._changed:  # both in one batch
        for one in made(0, 2):
            courier._take(one.id, one.session, one.label, b"{}")
        courier._changed.notify_all()
    assert carrier.asked.wait(5)
    for one in made(2, 2 + more):
        courier.decision(one)
    carrier.gate.set()
    until(lambda: courier.counts()["waiting"] == 0, 10)
    assert conserved(courier)
    assert courier.counts()["taken"] == 2 + more
    courier.close()


def test_a_process_that_is_killed_leaves_what_was_not_acknowledged_to_the_next(tmp_path):
    end = HookEnd(tmp_path)  # nobody is there yet
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
    arguments = [str(end.port), str(secret_file(tmp_path)), str(tmp_path / "spool")]
    process = subprocess.Popen([sys.executable, "-c", GIVEN, *arguments], env=env, stderr=subprocess.DEVNULL)
    until(lambda: sum(path.read_bytes().count(b"\n") for path in (tmp_path / "spool").glob("*/*.jsonl")) == 20, 30)
    process.kill()
    process.wait()
    end.start()
    after = end.sink()
    until(lambda: ids(end) == names(0, 20), 20)
    after.close()
    end.end()
    assert not list((tmp_path / "spool").glob("*/*.jsonl"))  # and it is not sent a third time


@given(st.lists(st.tuples(st.sampled_from(["append", "done", "flush", "again"]), st.integers(1, 5)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_whatever_is_done_and_whenever_it_restarts_what_is_left_is_what_is_not_done(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("spool")
    spool, base, first, last = Spool(folder), 0, 0, 0  # first: what is not done yet. base: the number 0 of this run
    for step, count in steps:
        if step == "append":
            for number in range(last, last + count):
                spool.append(number - base, b"line %d" % number)
            last += count
        elif step == "done":
            first = min(first + count, last)
            spool.done(first - 1 - base)
        elif step == "flush":
            spool.flush()
        else:
            spool.close()
            spool, base = Spool(folder), first
            assert spool.left == [b"line %d" % number for number in range(first, last)]
    spool.close()


def test_a_torn_last_line_is_left_out_and_one_that_is_no_decision_is_counted(tmp_path):
    slot = tmp_path / "spool" / "0"
    slot.mkdir(parents=True)
    good = b'{"id": "demo-0", "session": "demo", "label": "x"}\n'
    (slot / "000001.jsonl").write_bytes(good + b"[]\n" + b"\xff\n" + b'{"id": 1, "session": "demo", "label": "x"}\n' + b'{"id": "torn')
    carrier = Gated({})
    carrier.gate.set()
    courier = Courier("gate", carrier, most=10, spool=tmp_path / "spool", close_s=5)
    until(lambda: courier.counts()["waiting"] == 0, 10)
    assert courier.counts()["sent"] == 1
    assert courier.counts()["dropped"] == {"damaged in the spool": 3}
    assert conserved(courier)
    courier.close()


def test_two_sinks_with_one_spool_do_not_share_a_line(tmp_path):
    one, other = Spool(tmp_path), Spool(tmp_path)
    one.append(0, b"mine")
    one.flush()
    other.append(0, b"theirs")
    other.flush()
    one.close()
    other.close()
    assert sorted(Spool(tmp_path).left) == [b"mine", b"theirs"]
