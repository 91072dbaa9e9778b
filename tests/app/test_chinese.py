"""The page in Chinese in a real browser."""

import re

import pytest
from playwright.sync_api import expect

from mlx_deepseek import catalog, load
from mlx_deepseek_app.command import serve
from tests.app import scripted
from tests.app.screenshot import letter
from tests.app.test_browser import ANSWER, ASKED, THOUGHT, ask, idle

pytestmark = pytest.mark.browser

# what people and models write, code, and what Gradio hides; quoted in labels, it follows a colon
CONTENT = """#chat .message-content, #chat .thought-group > .content, #suggestions [data-ask],
 .menu .name, .menu-button .name, .chips [data-text],
 #conversations [data-act=open], #compare [data-testid=markdown] p, #documents-text, #pictures-text,
 .pane textarea, .lean-colours, .cm-line, #inspect .tokens, .preview rect,
 .preview text, .file-preview .filename, script, style,
 [data-testid=status-tracker]"""
QUOTED = re.compile(r"^((?:您|模型)的消息|使用示例 \d+|[^：]*)：.*", re.DOTALL)
MODEL = re.compile(r".*（(?=已转换|已下载)")
NAMES = sorted(
    {name for entry in catalog.entries() for name in (entry.repo, entry.name, entry.family)}
    | {
        "mlx-deepseek",
        "nano-ocr",
        "nano-prover",
        "nano",
        "DeepSeek-V3",
        "DeepSeek-OCR",
        "DeepSeek",
        "Hugging Face",
    }
    | {
        "tokens",
        "token",
        "GiB",
        "PDF",
        "JSON",
        "Markdown",
        "MHA",
        "GQA",
        "MTP",
        "MIT",
        "Apache-2.0",
        "OCR",
        "Top-",
    }
    | {"Lean", "English", "MCP", "mxfp", "nvfp", "bit", "note.pdf", "config.json", "broken"},
    key=len,
    reverse=True,
)
# every text of the page with where it is; what a dropdown shows is read as the browser does
TEXTS = """(content) => {
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { data, parentElement } = walker.currentNode;
    if (data.trim() && !parentElement.closest(content)) texts.push(["text", data.trim()]);
  }
  for (const name of ["title", "aria-label", "placeholder"])
    for (const element of document.querySelectorAll(`[${name}]`))
      if (!element.closest(content)) texts.push([name, element.getAttribute(name)]);
  const frame = document.body.appendChild(document.createElement("iframe"));
  const { prototype } = frame.contentWindow.HTMLInputElement;
  const plain = Object.getOwnPropertyDescriptor(prototype, "value");
  for (const input of document.querySelectorAll("input[role=combobox]"))
    texts.push(["dropdown", plain.get.call(input)]);
  frame.remove();
  return texts;
}"""


class Reader:
    """Collects what is not in Chinese, tab by tab."""

    def __init__(self, page):
        self.page = page
        self.missing = set()

    def read(self):
        for kind, text in self.page.evaluate(TEXTS, CONTENT):
            rest = MODEL.sub("", text if kind == "text" else QUOTED.sub(r"\1", text))
            for name in NAMES:
                rest = rest.replace(name, "")
            if re.search("[A-Za-z]{3}", rest):
                self.missing.add((kind, text))

    def tab(self, name):
        self.page.locator("#nav").get_by_role("link", name=name, exact=True).click()
        self.read()

    def check(self):
        assert not self.missing, f"add to chinese.json: {sorted(self.missing)}"


def texts(page):
    return page.evaluate(TEXTS, "script, style")


def test_every_page_of_nano_is_in_chinese(nano_site, open_page):
    page = open_page(nano_site, locale="zh-CN")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    reader = Reader(page)
    reader.read()
    ask(page, "Settings")
    expect(page.locator(ASKED)).to_have_text("Settings")
    expect(page.locator("#conversations [data-act=open]").first).to_have_text("Settings")
    idle(page)
    expect(page.locator(THOUGHT).or_(page.locator(ANSWER)).first).to_be_visible()
    page.locator("#settings-button").click()
    page.locator("#preset input").click()
    page.get_by_role("option", name="简洁").click()
    expect(page.locator("#system textarea")).to_have_value(re.compile("^Answer in as few"))
    page.locator(".menu-button").click()
    expect(page.locator(".menu section").first).to_contain_text("内置 · 4 MB · 很合适")
    reader.read()
    page.keyboard.press("Escape")
    page.locator("#conversations [data-act=more]").first.click()
    page.locator("#conversations [data-act=delete]").first.click()
    sure = page.get_by_label("永久删除？删除：Settings")
    expect(sure).to_have_text("永久删除？")
    sure.blur()
    expect(page.get_by_label("删除：Settings")).to_have_text("删除")
    reader.tab("模型")
    reader.tab("对比")
    page.get_by_label("共用提示词").fill("What is 2 + 2?")
    page.locator("#compare-go").click()
    expect(page.locator("#compare-right")).to_contain_text("tokens/s")
    reader.tab("模型内部")
    page.locator("#inspect-go").click()
    expect(page.locator("#inspect-shown")).to_contain_text("稀疏注意力")
    reader.read()
    reader.check()
    page.locator("#nav").get_by_role("link", name="服务器", exact=True).click()
    expect(page.locator("#server-told .cm-line").last).to_have_text("claude")


def test_the_pages_of_a_model_that_sees_are_in_chinese(open_page, tmp_path):
    served = serve(load, "nano-ocr")
    page = open_page(served, locale="zh-CN")
    reader = Reader(page)
    reader.tab("图片")
    page.locator("#pictures-go").click()
    expect(page.locator("#pictures-state")).to_have_text("请先选择图片。")
    reader.tab("文档")
    expect(page.locator("#documents-files")).to_contain_text("将文件拖放到此处")
    with page.expect_file_chooser() as choosing:
        page.locator("#documents-files button").first.click()
    choosing.value.set_files(letter(tmp_path))
    expect(page.locator("#documents-files")).to_contain_text("note")
    page.locator("#documents-go").click()
    expect(page.locator("#documents-state")).to_contain_text("已识别：2 / 2 页")
    expect(page.get_by_role("button", name="下载 JSON")).to_be_visible()
    reader.read()
    page.close()
    served.close()
    reader.check()


def test_switching_restores_every_text(site, open_page):
    page = open_page(site)
    ask(page, "say: Theme")
    idle(page)
    expect(page.locator(THOUGHT)).not_to_contain_text("Let me think")  # it has folded
    page.locator("#settings-button").click()
    english = texts(page)
    page.locator("#language-button").click()
    expect(page.locator("#settings h2")).to_have_text("设置")
    assert ["dropdown", "无"] in texts(page)
    page.locator("#language-button").click()
    expect(page.locator("#settings h2")).to_have_text("Settings")
    assert texts(page) == english
    page.locator("#language-button").click()
    another = page.context.new_page()  # the choice is kept
    another.goto(site.url)
    expect(another.locator("#send-button")).to_have_text("发送")


def test_only_the_apps_own_notes_are_translated_in_a_message(site, open_page):
    page = open_page(site, locale="zh-CN", permissions=["clipboard-read", "clipboard-write"])
    ask(page, "say: Send *Stopped.* <em class='app-note'>Stopped.</em>")
    idle(page)
    expect(page.locator(ANSWER).last).to_contain_text("Send Stopped. <")
    ask(page, "slow")
    expect(page.locator(ANSWER).last).to_contain_text("tick")
    page.keyboard.press("Escape")
    idle(page)
    expect(page.locator(ANSWER).last).to_have_text("已停止。")
    ask(page, "fail")
    expect(page.locator(ANSWER).last).to_contain_text(
        "没有回答。 这段提示词需要 9 GiB，可用 4 GiB。"
    )
    expect(page.get_by_label("复制这条消息").last).to_be_attached()
    page.locator("#language-button").click()
    expect(page.get_by_label("Retry").last).to_be_visible()  # Gradio's own word
    expect(page.locator(ASKED).first).to_have_attribute("aria-label", "Your message")
    page.get_by_label("Copy this reply").first.click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == "Send *Stopped.* <em class='app-note'>Stopped.</em>"


def test_without_a_model_the_page_says_so_in_chinese(open_page):
    served = serve(scripted.load, "broken")
    page = open_page(served, ready="#hero .failed", locale="zh-CN")
    expect(page.locator(".menu-button")).to_have_text("未加载模型")
    expect(page.locator("#hero")).to_contain_text("文件缺失。请重新下载检查点。")
    reader = Reader(page)
    reader.read()
    page.close()
    served.close()
    reader.check()


def test_the_drawer_fits_a_phone_in_both_languages(site, open_page):
    page = open_page(site, width=360, height=740, locale="zh-CN")
    page.locator("#drawer-button").click()
    for name in ("English", "中文"):
        expect(page.locator("#language-button")).to_have_text(name)
        right = page.locator("#language-button").bounding_box()
        assert right["x"] + right["width"] <= 320
        assert page.evaluate("document.querySelector('#sidebar').scrollWidth") <= 320
        page.locator("#language-button").click()
