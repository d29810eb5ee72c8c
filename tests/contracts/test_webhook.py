"""A webhook and its receiver, who may be slow, odd or hostile."""

import ssl

import pytest
from certificates import certificate
from farends import SECRET, HookEnd, conserved, give, ids, made, names
from waiting import until

from operators.errors import ContractError
from pipeline.clock import wall_ns
from pipeline.outgoing.signature import SIGNATURE, TIMESTAMP, is_signed
from pipeline.sinks.webhook import Webhook

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def end(tmp_path):
    made_end = HookEnd(tmp_path)
    made_end.start()
    yield made_end
    made_end.end()


def sent(end, count, **options):
    sink = end.sink(batch=1, **options)
    give(sink, made(0, count))
    until(lambda: sink.counts()["waiting"] == 0, 20)
    sink.close()
    return sink


def test_each_request_is_signed_and_names_its_decision(end):
    sent(end, 2)
    for number, (_, headers, body) in enumerate(end.requests):
        assert headers["Idempotency-Key"] == f"demo-{number}"
        now_s = wall_ns() // 10**9
        assert is_signed(body, headers, SECRET.encode(), now_s=now_s)
        assert not is_signed(body, headers, b"another secret of sixteen bytes", now_s=now_s)
        assert not is_signed(body + b" ", headers, SECRET.encode(), now_s=now_s)
        assert not is_signed(body, headers, SECRET.encode(), now_s=now_s + 3600)  # said again later
        assert not is_signed(body, {**headers, TIMESTAMP: str(now_s + 1)}, SECRET.encode(), now_s=now_s)
        assert not is_signed(body, {TIMESTAMP: headers[TIMESTAMP]}, SECRET.encode(), now_s=now_s)
        assert SECRET not in headers[SIGNATURE]


@pytest.mark.parametrize("status", [500, 503, 408, 429])
def test_what_it_cannot_take_just_now_is_sent_again_under_the_same_key(end, status):
    end.answers = [(status, {}), (204, {})]
    sink = sent(end, 1)
    assert [headers["Idempotency-Key"] for _, headers, _ in end.requests] == ["demo-0", "demo-0"]
    assert sink.counts() | {"retried": 1} == {"taken": 1, "sent": 1, "retried": 1, "waiting": 0, "dropped": {}}


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_what_it_will_never_take_is_counted_and_not_sent_again(end, status):
    end.answers = [(status, {})]
    sink = sent(end, 2)
    assert sink.counts()["dropped"] == {f"answered {status}": 1}
    assert ids(end) == ["demo-1"]
    assert conserved(sink)


def test_where_it_leads_elsewhere_nobody_goes(end):
    end.answers = [(302, {"Location": "http://127.0.0.1:1/steal"}), (204, {})]
    sent(end, 1)
    assert len(end.requests) == 2  # both here


def test_it_says_when_to_come_back(end):
    end.answers = [(429, {"Retry-After": "1"}), (204, {})]
    begun_ns = wall_ns()
    sent(end, 1)
    assert wall_ns() - begun_ns >= 10**9


def test_a_long_answer_is_not_read_to_its_end(end):
    end.answers = [(200, {"Content-Length": str(1 << 40)})] * 3
    sink = sent(end, 3, timeout_s=0.5)
    assert ids(end)[:1] == ["demo-0"]
    assert conserved(sink)


def test_what_was_not_acknowledged_is_sent_by_the_next_run(end):
    end.kill()
    sink = end.sink(close_s=0.1)
    give(sink, made(0, 5))
    sink.close()
    assert sink.counts()["waiting"] == 5
    end.start()
    after = end.sink()
    give(after, made(5, 7))
    until(lambda: ids(end) == names(0, 7), 20)
    after.close()


def test_a_certificate_of_nobody_is_not_accepted_and_ones_own_is(tmp_path):
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    end = HookEnd(tmp_path, context)
    end.start()
    sink = end.sink(url=f"https://127.0.0.1:{end.port}/in", close_s=0.1)
    give(sink, made(0, 1))
    until(lambda: sink.counts()["retried"] > 0, 20)
    sink.close()
    assert end.requests == []
    trusting = end.sink(url=f"https://127.0.0.1:{end.port}/in", ca_file=cert)
    until(lambda: ids(end) == ["demo-0"], 20)
    trusting.close()
    end.end()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"url": "http://example.org/in"}, "url wants https beyond this machine"),
        ({"url": "https://me:pw@example.org/"}, "without a password"),
        ({"url": "file:///etc/passwd"}, "url wants https"),
        ({"url": "https://example.org:99999/"}, "url is no address"),
        ({"batch": 0}, "batch of 1 to 1000"),
        ({"secret_file": None}, "either secret_file or secret_env"),
        ({"secret_file": None, "secret_env": "SHORT"}, "16 bytes or more"),
    ],
)
def test_what_it_cannot_be_told_is_one_line(tmp_path, monkeypatch, options, why):
    monkeypatch.setenv("SHORT", "short")
    (tmp_path / "secret").touch(mode=0o600)
    (tmp_path / "secret").write_text(SECRET)
    good = {"url": "https://example.org/in", "secret_file": tmp_path / "secret", "spool": tmp_path / "spool"}
    with pytest.raises(ContractError, match=why) as said:
        Webhook(**{**good, **options})
    assert SECRET not in str(said.value)
    assert "pw" not in str(said.value)


def test_a_secret_that_others_can_read_is_none(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o644)
    with pytest.raises(ContractError, match="chmod 600"):
        Webhook(url="https://example.org/in", secret_file=secret, spool=tmp_path / "spool")
