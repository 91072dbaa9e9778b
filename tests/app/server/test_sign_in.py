"""Who signs in, who does not, and who has to wait."""

import asyncio

import httpx
import pytest
from playwright.sync_api import expect

from mlx_deepseek_app.command import serve
from mlx_deepseek_app.server.sign_in import ADDRESS, FREE_TRIES, LONGEST_WAIT_S, SignIn, Tries
from tests.app import scripted
from tests.app.test_accessible import AXE, FOUND

PASSWORD = "right & <b>"


@pytest.fixture(scope="module")
def locked():
    served = serve(lambda source, **_: scripted.load(source), "scripted", password=PASSWORD)
    yield served
    served.close()


@pytest.fixture
def visitor(locked):
    with httpx.Client(base_url=locked.url, headers={"accept": "text/html"}) as client:
        yield client


def test_without_the_password_nothing_is_served(visitor):
    for path in (
        "config",
        "gradio_api/info",
        "gradio_api/file=/etc/passwd",
        "theme.css",
        "static/x",
    ):
        answer = visitor.get(path)
        assert answer.status_code == 401
        assert "<form" in answer.text
        assert "Gradio" not in answer.text
        assert visitor.get(path, headers={"accept": "*/*"}).text.startswith("Sign in first")
    assert visitor.post("gradio_api/upload").status_code == 401
    assert visitor.post("gradio_api/queue/join", json={}).status_code == 401
    forged = visitor.get("config", cookies={"mlx-deepseek-session": "guessed"})
    assert forged.status_code == 401


def test_the_password_opens_everything_and_others_are_refused(visitor):
    assert visitor.post(ADDRESS, data={"password": "wrong"}).status_code == 401
    assert visitor.post(ADDRESS, content=b"password=" + b"x" * 50_000).status_code == 401
    foreign = {"origin": "http://other.example"}
    assert (
        visitor.post(ADDRESS, data={"password": "right & <b>"}, headers=foreign).status_code == 403
    )
    answer = visitor.post(ADDRESS, data={"password": "right & <b>"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "enable_queue" in visitor.get("config").text


def test_guessing_is_slowed_down_and_a_right_password_waits_too(locked):
    times = [0.0]
    tries = Tries(lambda: times[0])
    waits = []
    for _ in range(20):
        tries.failed("one")
        waits.append(tries.wait_s("one"))
    assert waits[: FREE_TRIES - 1] == [0] * (FREE_TRIES - 1)
    assert waits[FREE_TRIES - 1 : FREE_TRIES + 3] == [1, 2, 4, 8]
    assert waits[-1] == LONGEST_WAIT_S
    assert tries.wait_s("another") == 0
    times[0] += LONGEST_WAIT_S
    assert tries.wait_s("one") == 0
    tries.passed("one")
    tries.failed("one")
    assert tries.wait_s("one") == 0


def test_who_has_guessed_too_often_is_told_to_wait():
    gate = SignIn(None, PASSWORD)

    async def tried(address):
        way = httpx.ASGITransport(gate, client=(address, 1))
        async with httpx.AsyncClient(transport=way, base_url="http://here") as client:
            for _ in range(FREE_TRIES):
                await client.post(ADDRESS, data={"password": "no"})
            return await client.post(ADDRESS, data={"password": PASSWORD})

    for address in ("10.0.0.1", "10.0.0.2"):
        answer = asyncio.run(tried(address))
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
        assert "Try again in 1 s" in answer.text


@pytest.mark.browser
@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_the_page_says_what_is_wrong_and_leads_to_the_app(locked, browser, language):
    context = browser.new_context(locale=language)
    page = context.new_page()
    page.goto(locked.url)
    label, wrong = ("Password", "wrong") if language == "en" else ("密码", "不正确")
    field = page.get_by_label(label)
    expect(field).to_be_focused()
    field.fill("no")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text(wrong)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.evaluate(AXE.read_text(encoding="utf-8"))
        assert page.evaluate(FOUND, {}) == []
    page.get_by_label(label).fill(PASSWORD)
    page.get_by_label(label).press("Enter")
    expect(page.locator("#prompt textarea")).to_be_visible()
    context.close()
