"""Every route, every method, every way to come in: made from the app's own list of routes, so that a new one is in here by itself."""

import re

import pytest
from asgi import HOST
from guarded import Guarded, by_token, walk

OPEN = {"/", "/enter", "/health/live", "/health/ready"}
METHODS = ("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW")
PARTS = {"session": "desk", "recording": "story", "name": "app.js", "name:path": "app.js"}
BODIES = {
    "/api/sessions": b'{"config": "desk"}',
    "record": b'{"on": true}',
    "detach": b'{"sources": ["cam"]}',
    "attach": b'{"preset": "browser"}',
    "text": b'{"text": "hi"}',
}
OWN = (b"origin", b"http://127.0.0.1:8700")


def routes(app):
    """(method, path with its names filled in); the method of a WebSocket is WS."""
    for route in walk(app.routes):
        path = re.sub(r"\{([^}]*)\}", lambda part: PARTS[part[1]], route.path)
        for method in getattr(route, "methods", None) or ["WS"]:
            yield method, path


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    return Guarded(tmp_path_factory.mktemp("api"), per_minute=1_000_000)


@pytest.fixture(scope="module")
def cookie(guarded):
    return (b"cookie", guarded.cookie())


def every(guarded):
    return [pair for pair in sorted(set(routes(guarded.app))) if pair[0] != "HEAD"]


def come(guarded, method, path, headers):
    if method == "WS":
        return guarded.connect(path, headers)
    body = next((body for end, body in BODIES.items() if path.endswith(end)), b'{"start_ns": 0}')
    kind = (b"content-type", b"application/sdp" if path.endswith("offer") else b"application/json")
    query = {"picture": "?at_ns=1", "level": "?from_ns=0&to_ns=1000"}.get(path.rpartition("/")[2], "")
    return guarded.ask(method, path + query, [*headers, kind], [body if method == "POST" else b""])


def refused(guarded, headers, *, status, unless=lambda method, path: False):
    found = every(guarded)
    assert len(found) > 30
    others = [(method, path) for method, path in found if not unless(method, path)]
    wrong = {pair: answer.status for pair in others if (answer := come(guarded, *pair, headers)).status != status}
    assert wrong == {}
    return others


def test_the_list_has_what_the_contract_names(guarded):
    found = set(every(guarded))
    assert {("WS", "/api/live"), ("WS", "/api/sessions/desk/live"), ("GET", "/metrics"), ("DELETE", "/api/recordings/story")} <= found
    described = {(method.upper(), path) for path, methods in guarded.app.openapi()["paths"].items() for method in methods}
    filled = {(method, re.sub(r"\{([^}]*)\}", lambda part: PARTS[part[1]], path)) for method, path in described}
    assert filled <= found


def test_without_a_token_nothing_but_health_and_the_way_in_is_answered(guarded):
    refused(guarded, [(b"host", HOST)], status=401, unless=lambda method, path: path in OPEN)
    assert {
        path for method, path in every(guarded) if method == "GET" and come(guarded, method, path, [(b"host", HOST)]).status == 200
    } == {"/health/live", "/health/ready"}
    assert [come(guarded, "GET", path, [(b"host", HOST)]).status for path in ("/", "/enter")] == [401, 401]


@pytest.mark.parametrize(
    "shown",
    ["Bearer wrong", "Bearer", "Bearer ", "Basic Y2FuYXJ5", "canary-token-of-the-tests", "Bearer canary-token-of-the-test", "bearer \xff"],
)
def test_with_a_wrong_token_nothing_is_answered(tmp_path, shown):
    guarded = Guarded(tmp_path, per_minute=1_000_000)
    headers = [(b"host", HOST), (b"authorization", shown.encode("latin-1"))]
    refused(guarded, headers, status=401, unless=lambda method, path: path in OPEN)


def test_with_a_wrong_cookie_nothing_is_answered(tmp_path):
    guarded = Guarded(tmp_path, per_minute=1_000_000)
    headers = [(b"host", HOST), (b"cookie", b"sensorium-8700=" + b"x" * 43), OWN]
    refused(guarded, headers, status=401, unless=lambda method, path: path in OPEN)


def test_a_right_cookie_does_not_help_a_wrong_token(guarded, cookie):
    answer = guarded.ask("GET", "/api/sessions", [*by_token("wrong"), cookie])
    assert answer.status == 401


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"127.0.0.1.evil.example:8700",
        b"",
        b"localhost.:8700",
        b"[::1",
        b"127.0.0.1:80:80",
        b"10.0.0.1:8700",
        b"127.0.0.1:8700@evil",
    ],
)
def test_by_a_foreign_name_nothing_is_answered_not_even_with_the_token(guarded, host):
    refused(guarded, by_token(host=host), status=421)


def test_without_a_host_nothing_is_answered(guarded):
    refused(guarded, by_token()[1:], status=421)


@pytest.mark.parametrize(
    "origin",
    [
        b"http://evil.example",
        b"null",
        b"https://127.0.0.1:8700",
        b"http://127.0.0.1:8701",
        b"http://127.0.0.1",
        b"http://localhost:8700",
        b"",
    ],
)
def test_pages_of_other_sites_are_not_answered_whatever_they_show(guarded, cookie, origin):
    refused(guarded, [*by_token(), (b"origin", origin)], status=403)
    refused(guarded, [(b"host", HOST), cookie, (b"origin", origin)], status=403)


@pytest.mark.parametrize("site", [b"cross-site", b"same-site", b"nonsense"])
def test_what_the_browser_says_comes_from_elsewhere_is_not_answered(guarded, cookie, site):
    refused(guarded, [(b"host", HOST), cookie, OWN, (b"sec-fetch-site", site)], status=403)


def test_a_cookie_without_an_origin_changes_nothing_and_opens_no_socket(guarded, cookie):
    tried = refused(guarded, [(b"host", HOST), cookie], status=403, unless=lambda method, path: method == "GET")
    assert ("WS", "/api/live") in tried


def test_methods_that_nobody_knows_are_refused_with_and_without_the_token(guarded):
    paths = {path for _, path in every(guarded)}
    for method in METHODS[3:]:
        for headers in (by_token(), [(b"host", HOST)]):
            assert {guarded.ask(method, path, headers).status for path in paths} == {405}, method


def test_methods_that_a_route_does_not_have_are_refused(guarded):
    found = [pair for pair in every(guarded) if pair[0] != "WS"]
    others = [(method, path) for path in {path for _, path in found} for method in METHODS[:3] if (method, path) not in found]
    wrong = {pair: answer.status for pair in others if (answer := come(guarded, *pair, by_token())).status not in (404, 405)}
    assert wrong == {}


def test_headers_that_decide_may_come_once_only(guarded):
    for twice in ((b"host", HOST), (b"authorization", b"Bearer x"), (b"content-length", b"0")):
        headers = [*by_token(), (b"content-length", b"0"), twice]
        assert guarded.ask("GET", "/api/sessions", headers).status == 400


def test_with_the_token_and_with_the_cookie_every_route_is_answered(tmp_path):
    for way in (by_token(), None, [*by_token(), OWN, (b"sec-fetch-site", b"none")]):
        guarded = Guarded(tmp_path, per_minute=1_000_000)
        headers = way or [(b"host", HOST), (b"cookie", guarded.cookie()), OWN, (b"sec-fetch-site", b"same-origin")]
        answers = {pair: come(guarded, *pair, headers) for pair in sorted(every(guarded), key=lambda pair: pair[1] == "/api/leave")}
        bad = {
            pair: (answer.status, answer.body)
            for pair, answer in answers.items()
            if answer.status in (400, 401, 403, 405, 421, 422, 429, 500, 504)
        }
        assert bad.pop(("GET", "/enter"))[0] == 401  # it wants a code
        assert bad == {}


def test_every_answer_has_the_headers_that_keep_a_browser_safe(guarded):
    for method, path in every(guarded):
        for headers in (by_token(), [(b"host", HOST)], [(b"host", b"evil")]):
            answer = come(guarded, method, path, headers)
            if answer.status == 101:
                continue
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert not [name for name in answer.headers if name.startswith("access-control")]
            if path.startswith("/api") or answer.status >= 400:
                assert answer.headers["cache-control"] == "no-store", path


def test_a_route_that_is_added_later_is_behind_the_same_door(tmp_path):
    guarded = Guarded(tmp_path)
    guarded.app.router.routes.insert(
        0, guarded.app.router.route_class("/api/new/{session}", lambda session: {"secret": 1}, methods=["GET"])
    )
    assert ("GET", "/api/new/desk") in every(guarded)
    assert come(guarded, "GET", "/api/new/desk", [(b"host", HOST)]).status == 401
    assert come(guarded, "GET", "/api/new/desk", by_token(host=b"evil")).status == 421
    assert come(guarded, "GET", "/api/new/desk", by_token()).status == 200
