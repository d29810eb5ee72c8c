"""The ways in: the token, a one-time code, and the cookie that it becomes."""

import os
import stat

import pytest
from asgi import HOST
from guarded import TOKEN, WALL_NS, Guarded

from pipeline.api.auth import COOKIE_TTL_NS, MOST_COOKIES, Auth
from pipeline.api.codes import MOST, TTL_NS, new_code, redeem


def auth(folder, now_ns=WALL_NS, *, secure=False, port=8700):
    return Auth(TOKEN, folder, lambda: now_ns, secure=secure, port=port)


def shown(line):
    return {b"cookie": line.partition(";")[0].encode()}


def enter(folder, now_ns=WALL_NS, **more):
    made = auth(folder, now_ns, **more)
    return made, made.enter(new_code(folder, now_ns))


def test_a_code_is_good_once(tmp_path):
    code = new_code(tmp_path, WALL_NS)
    assert [redeem(tmp_path, code, WALL_NS) for _ in range(2)] == [True, False]


def test_a_code_is_good_for_ten_minutes(tmp_path):
    codes = [new_code(tmp_path, WALL_NS) for _ in range(2)]
    assert redeem(tmp_path, codes[0], WALL_NS + TTL_NS)
    assert not redeem(tmp_path, codes[1], WALL_NS + TTL_NS + 1)
    assert not redeem(tmp_path, codes[1], WALL_NS), "it was shown, so it is used up"


def test_a_code_from_the_future_is_none(tmp_path):
    assert not redeem(tmp_path, new_code(tmp_path, WALL_NS + 1), WALL_NS)


def test_no_code_lies_in_a_file_and_only_its_owner_can_look(tmp_path):
    code = new_code(tmp_path, WALL_NS)
    (path,) = (tmp_path / "enter").iterdir()
    assert code not in path.name + path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_codes_do_not_pile_up(tmp_path):
    codes = [new_code(tmp_path, WALL_NS + age) for age in range(MOST + 5)]
    assert len(list((tmp_path / "enter").iterdir())) == MOST
    assert redeem(tmp_path, codes[-1], WALL_NS + 100)
    assert not redeem(tmp_path, codes[0], WALL_NS + 100)
    new_code(tmp_path, WALL_NS + 2 * TTL_NS)
    assert len(list((tmp_path / "enter").iterdir())) == 1


@pytest.mark.parametrize("code", ["", "..", "../../etc/passwd", "x" * 129, "\0", "ü", "/"])
def test_what_is_no_code_lets_nobody_in(tmp_path, code):
    assert auth(tmp_path).enter(code) is None
    new_code(tmp_path, WALL_NS)
    assert auth(tmp_path).enter(code) is None


def test_a_cookie_is_for_this_site_only_and_not_for_scripts(tmp_path):
    _, line = enter(tmp_path)
    name, _, rest = line.partition("=")
    assert name == "sensorium-8700"
    assert rest.partition("; ")[2] == "Path=/; Max-Age=604800; HttpOnly; SameSite=Strict"
    assert len(rest.partition(";")[0]) >= 43


def test_under_tls_a_cookie_goes_over_nothing_else(tmp_path):
    _, line = enter(tmp_path, secure=True)
    assert line.startswith("__Host-sensorium=")
    assert line.endswith("; Secure")


def test_a_browser_that_came_in_may_until_its_cookie_is_old(tmp_path):
    made, line = enter(tmp_path)
    assert made.way(shown(line)) == "cookie"
    assert auth(tmp_path, WALL_NS + COOKIE_TTL_NS - 1).way(shown(line)) == "cookie"
    assert auth(tmp_path, WALL_NS + COOKIE_TTL_NS).way(shown(line)) is None


def test_a_new_process_of_the_api_lets_the_same_browser_in(tmp_path):
    _, line = enter(tmp_path)
    assert auth(tmp_path).way(shown(line)) == "cookie"
    value = line.partition("=")[2].partition(";")[0]
    kept = tmp_path / "cookies.json"
    assert value not in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_cookies_that_others_could_have_written_are_not_believed(tmp_path):
    _, line = enter(tmp_path)
    (tmp_path / "cookies.json").chmod(0o644)
    assert auth(tmp_path).way(shown(line)) is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": "b"}', "null"])
def test_a_damaged_file_of_cookies_lets_nobody_in_and_stops_nothing(tmp_path, content):
    (tmp_path / "cookies.json").touch(0o600)
    (tmp_path / "cookies.json").write_text(content)
    made, line = enter(tmp_path)
    assert made.way(shown(line)) == "cookie"


def test_cookies_are_bounded_and_the_oldest_goes(tmp_path):
    lines = [enter(tmp_path, WALL_NS + age)[1] for age in range(MOST_COOKIES + 1)]
    made = auth(tmp_path, WALL_NS + 100)
    assert [made.way(shown(line)) for line in (lines[0], lines[1], lines[-1])] == [None, "cookie", "cookie"]


def test_who_leaves_has_to_come_in_again(tmp_path):
    made, line = enter(tmp_path)
    assert "Max-Age=0" in made.leave(shown(line))
    assert made.way(shown(line)) is None
    assert auth(tmp_path).way(shown(line)) is None


def test_cookies_of_other_programs_on_this_host_do_not_hide_ours(tmp_path):
    made, line = enter(tmp_path)
    ours = line.partition(";")[0]
    header = f'odd={{"json": "a, b"}}; =; ;; {ours}; other="x; y"'
    assert made.way({b"cookie": header.encode()}) == "cookie"
    assert auth(tmp_path, port=8701).way({b"cookie": header.encode()}) is None, "another daemon's"


def test_the_page_shows_the_way_in_and_after_it_the_dashboard(tmp_path):
    guarded = Guarded(tmp_path)
    door = guarded.ask("GET", "/", [(b"host", HOST)])
    assert door.status == 401
    assert b"sensorium status" in door.body
    code = new_code(guarded.run_dir, WALL_NS)
    entered = guarded.ask("GET", f"/enter?code={code}", [(b"host", HOST)])
    assert (entered.status, entered.headers["location"]) == (303, "/")
    cookie = (b"cookie", entered.headers["set-cookie"].partition(";")[0].encode())
    page = guarded.ask("GET", "/", [(b"host", HOST), cookie])
    assert (page.status, b"dashboard" in page.body) == (200, True)
    assert guarded.ask("GET", f"/enter?code={code}", [(b"host", HOST)]).status == 401
    own = (b"origin", b"http://127.0.0.1:8700")
    left = guarded.ask("POST", "/api/leave", [(b"host", HOST), cookie, own])
    assert "Max-Age=0" in left.headers["set-cookie"]
    assert guarded.ask("GET", "/api/health", [(b"host", HOST), cookie]).status == 401


def test_a_page_in_a_frame_or_with_scripts_of_others_is_forbidden_also_on_the_way_in(tmp_path):
    policy = Guarded(tmp_path).ask("GET", "/", [(b"host", HOST)]).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy


def test_only_files_of_the_page_are_given_out(tmp_path):
    guarded = Guarded(tmp_path)
    (tmp_path / "page" / "notes.md").write_text("not for the web")
    (tmp_path / "secret.js").write_text("secret")
    os.symlink(tmp_path / "secret.js", tmp_path / "page" / "link.js")
    good = guarded.ask("GET", "/app.js")
    assert (good.status, good.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    for name in ("notes.md", "link.js", "../secret.js", "%2e%2e/secret.js", "/../secret.js", "page/app.js", "app.js/", "app.js\0", ".", ""):
        answer = guarded.ask("GET", f"/{name}")
        assert answer.status == (200 if name == "" else 404), name
        assert b"secret" not in answer.body
