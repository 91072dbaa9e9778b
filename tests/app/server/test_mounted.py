"""The API beside the app's page, on one port."""

import httpx
import pytest

import mlx_deepseek as ds
from mlx_deepseek_app.command import serve
from tests.waiting import wait_until

ASKED = {"messages": [{"role": "user", "content": "What is 347 + 586?"}], "max_tokens": 60}


@pytest.fixture(scope="module")
def served():
    served = serve(ds.load, "nano")
    wait_until(lambda: served.service.engine is not None, 60)
    yield served
    served.close()


def test_all_apis_and_the_page_answer_at_one_address(served):
    with httpx.Client(base_url=served.url.rstrip("/"), timeout=60) as client:
        assert "<!doctype html>" in client.get("/").text.lower()
        assert client.get("/v1/models").json()["data"][0]["id"] == "nano"
        for path in ("/v1/chat/completions", "/chat/completions"):
            answer = client.post(path, json=ASKED | {"model": "nano"}).json()
            assert answer["choices"][0]["message"]["content"] == "933"
        answer = client.post("/v1/messages", json=ASKED | {"model": "claude-opus-4-6"}).json()
        assert answer["content"][-1]["text"] == "933"
        assert client.get("/health").json()["status"] == "ok"
        assert client.get("/v1/nothing").json()["error"]["message"]
        refused = client.post("/v1/chat/completions", json=ASKED, headers={"origin": "http://x.y"})
        assert refused.status_code == 403
        assert client.post("/v1/messages", json=ASKED | {"model": "gpt"}).status_code == 404


def test_no_model_is_told(served):
    engine, served.service.engine = served.service.engine, None
    try:
        answer = httpx.post(f"{served.url}v1/chat/completions", json=ASKED)
    finally:
        served.service.engine = engine
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"


def test_who_must_sign_in_must_have_the_key():
    served = serve(ds.load, "nano", password="a-password")
    try:
        wait_until(lambda: served.service.engine is not None, 60)
        address = f"{served.url}v1/models"
        assert httpx.get(address).status_code == 401
        key = {"authorization": "Bearer a-password"}
        assert httpx.get(address, headers=key).status_code == 200
    finally:
        served.close()


@pytest.mark.browser
def test_the_server_page_shows_addresses_settings_and_requests(served, open_page):
    from playwright.sync_api import expect

    page = open_page(served)
    page.locator("#nav").get_by_role("link", name="Server", exact=True).click()
    address = served.url.rstrip("/")
    expect(page.locator("#server-where")).to_contain_text(f"{address}/v1")
    expect(page.locator("#server-told")).to_contain_text(f"ANTHROPIC_BASE_URL={address}")
    httpx.post(f"{address}/v1/chat/completions", json=ASKED | {"model": "nano"}, timeout=60)
    expect(page.locator("#server-requests")).to_contain_text("chat")
    expect(page.locator("#server-requests")).to_contain_text("stop")
    expect(page.locator("#server-requests")).not_to_contain_text("347")
