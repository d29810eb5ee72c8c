"""What every sink that sends must keep to, each with its real counterpart: an HTTP server, mosquitto, librdkafka's mock cluster."""

import logging

import pytest
from decisions import decision, status
from farends import ENDS, SECRET, conserved, give, ids, made, names
from waiting import until

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.real]


@pytest.fixture(params=ENDS)
def end(request, tmp_path):
    made = ENDS[request.param](tmp_path)
    yield made
    made.end()


def test_all_that_is_decided_arrives_in_order_by_session(end):
    end.start()
    sink = end.sink()
    sink.status(status(state="starting"))
    for one, other in zip(made(0, 40), made(0, 40, "other"), strict=True):
        give(sink, [one, other])
    sink.close()
    until(lambda: len(end.received()) >= 80, 10)
    assert ids(end) == names(0, 40)
    assert ids(end, "other") == names(0, 40, "other")
    assert sink.counts() | {"retried": 0} == {"taken": 80, "sent": 80, "retried": 0, "waiting": 0, "dropped": {}}
    assert next(one for one in end.received() if one["id"] == "demo-3")["scores"] == decision().scores


def test_what_is_decided_while_nobody_is_there_yet_arrives_later(end, caplog):
    sink = end.sink()
    give(sink, made(0, 20))
    until(lambda: sink.counts()["retried"] > 0, 20)
    end.start()
    until(lambda: sink.counts()["sent"] == 20, 30)
    sink.close()
    until(lambda: ids(end) == names(0, 20), 10)
    assert sum("tried again" in line for line in caplog.messages) == 1  # a line when it begins, not one a try


def test_the_other_side_is_killed_and_comes_back_and_nothing_is_lost(end):
    end.start()
    sink = end.sink()
    give(sink, made(0, 10))
    until(lambda: ids(end) == names(0, 10), 10)
    end.kill()
    give(sink, made(10, 20))
    until(lambda: sink.counts()["retried"] > 0, 30)
    end.start()
    give(sink, made(20, 30))
    until(lambda: sink.counts()["waiting"] == 0, 40)
    sink.close()
    until(lambda: ids(end) == names(0, 30), 10)
    assert conserved(sink)


def test_whoever_decides_never_waits_for_a_side_that_hangs(end):
    end.start()
    sink = end.sink()
    give(sink, made(0, 1))
    until(lambda: ids(end) == names(0, 1), 10)
    end.hang()
    give(sink, made(1, 500))  # returns
    assert sink.counts()["waiting"] > 0
    end.go_on()
    until(lambda: sink.counts()["waiting"] == 0, 40)
    sink.close()
    until(lambda: ids(end) == names(0, 500), 20)


def test_what_there_is_no_room_for_is_dropped_oldest_first_and_counted(end, caplog):
    sink = end.sink(queue=5)
    give(sink, made(0, 20))
    assert sink.counts()["dropped"] == {"overflow": 15}
    end.start()
    until(lambda: sink.counts()["waiting"] == 0, 30)
    sink.close()
    until(lambda: ids(end)[-5:] == names(15, 20), 10)
    assert conserved(sink)
    assert sum("the oldest are dropped" in line for line in caplog.messages) == 1


def test_at_the_end_it_says_what_was_not_delivered(end, caplog):
    sink = end.sink(close_s=0.3)
    give(sink, made(0, 7))
    sink.close()
    last = caplog.records[-1]
    assert "0 decisions sent, 7 not" in last.getMessage()
    assert last.levelno == logging.WARNING
    assert conserved(sink)


def test_no_line_of_the_log_holds_what_was_decided_or_a_secret(end, caplog):
    caplog.set_level(logging.DEBUG)
    sink = end.sink(close_s=0.3, queue=2)
    give(sink, made(0, 7))
    until(lambda: sink.counts()["retried"] > 0, 20)
    sink.close()
    assert caplog.records
    told = " ".join(f"{line.getMessage()} {line.__dict__}" for line in caplog.records)
    assert not any(word in told for word in (SECRET, "demo-5", "speaking", "0.93"))
