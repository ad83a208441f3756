"""The page at `/`, in a real browser where there is one."""

from __future__ import annotations

import asyncio
import base64
import re

import pytest

from promptflow.serving.page import _template
from tests.promptflow.flowkit import dag, write
from tests.promptflow.serving.browser import CHROMIUM, browser

CHAT = """
display_name: Talk </script><b>bold
message_format: FORMAT
inputs:
  chat_history: {type: list, is_chat_history: true, default: []}
  question: {type: KIND, is_chat_input: true}
  tone: {type: string, default: kind}
outputs:
  answer: {type: string, reference: "${say.output}", is_chat_output: true}
  seen: {type: int, reference: "${count.output}"}
nodes:
- name: say
  type: python
  source: {type: code, path: say.py}
  inputs: {question: "${inputs.question}", history: "${inputs.chat_history}", tone: "${inputs.tone}"}
- {name: count, type: python, source: {type: code, path: count.py}, inputs: {history: "${inputs.chat_history}"}}
"""
SAY = """
import asyncio
from promptflow.core import tool
@tool
async def say(question, history, tone):
    if question == "fail":
        raise ValueError("no way")
    yield f"({tone}) "
    if question == "wait":
        await asyncio.sleep(60)
    for turn in history:
        yield turn["inputs"]["question"] + "+"
    yield f"<i>{question}</i>"
"""
COUNT = "from promptflow.core import tool\n@tool\ndef count(history): return len(history)\n"
IMAGES = """
from promptflow.core import tool
from promptflow.contracts.multimedia import Image
@tool
def say(question, history, tone):
    pictures = [part for part in question if isinstance(part, Image)]
    return f"{len(pictures)} pictures of {sum(map(len, pictures))} bytes, and {len(question) - len(pictures)} text"
"""
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 20).decode()
PASTE = f"""
(async () => {{
  const bytes = Uint8Array.from(atob("{PIXEL}"), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], "a.png", {{type: "image/png"}}));
  document.getElementById("question").dispatchEvent(new ClipboardEvent("paste", {{clipboardData: data}}));
}})()
"""
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def test_the_page_reaches_for_nothing_outside():
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|swagger\.json)[^"']+""", _template()) == []
    assert "connect-src 'self'" in _template() and "@import" not in _template() and "url(" not in _template()


def test_what_the_flow_says_cannot_end_the_script(serve, tmp_path):
    flow = dag(tmp_path, CHAT.replace("KIND", "string").replace("FORMAT", "basic"), say_py=SAY, count_py=COUNT)

    text = serve(flow).get("/").text

    assert "Talk \\u003c/script>\\u003cb>bold" in text
    assert text.count("</script>") == 2


def test_a_static_folder_brings_a_page_of_ones_own(serve, tmp_path):
    flow = write(tmp_path / "flow", flow_flex_yaml="entry: m:f\n", m_py="def f(): return 1\n")
    own = write(tmp_path / "own", index_html="<p>mine</p>", style_css="p {}")

    client = serve(flow, static_folder=str(own))

    assert client.get("/").text == "<p>mine</p>"
    assert client.get("/static/style.css").text == "p {}"
    assert client.get("/static/../flow/m.py").status_code == 404


@needs_browser
def test_a_chat_streams_and_keeps_its_history(serve, tmp_path):
    flow = dag(tmp_path / "flow", CHAT.replace("KIND", "string").replace("FORMAT", "basic"), say_py=SAY, count_py=COUNT)
    url = str(serve(flow).base_url)

    async def talk():
        async with browser(tmp_path) as page:
            await page.open(url)
            assert await page.run("document.querySelector('h1').textContent") == "Talk </script><b>bold"
            assert await page.run("document.activeElement.id") == "question"
            await page.type("one", "Enter")
            await page.until("document.getElementById('log').innerText.includes('(kind) <i>one</i>')")
            await page.until("document.querySelectorAll('.message .thumbs').length === 1")
            await page.type("two", "Enter")
            await page.until("document.getElementById('log').innerText.includes('(kind) one+<i>two</i>')")
            await page.until("document.querySelectorAll('.message .thumbs').length === 2")
            await page.run("document.querySelector('[aria-label=\"good answer\"]').click()")
            await page.until("document.querySelector('[aria-label=\"good answer\"]').disabled")
            await page.type("fail", "Enter")
            await page.until("document.querySelector('[role=alert]')?.innerText.includes('no way')")
            assert await page.run("document.getElementById('question').value") == "fail"
            await page.run("document.getElementById('question').value = ''")
            await page.type("wait", "Enter")
            await page.until("[...document.querySelectorAll('.message')].at(-1).innerText.includes('(kind)')")
            await page.type("", "Escape")
            await page.until("[...document.querySelectorAll('.message')].at(-1).innerText.includes('stopped')")
            await page.run("[...document.querySelectorAll('button')].find((b) => b.innerText === 'New chat').click()")
            await page.type("three", "Enter")
            await page.until("document.getElementById('log').innerText.includes('(kind) <i>three</i>')")
            assert [c for c in page.complaints if "400" not in c] == []
            assert {u for u in page.requests if not u.startswith((url, "data:"))} == set()

    asyncio.run(talk())


@needs_browser
@pytest.mark.parametrize("message_format", ["basic", "openai-vision"])
def test_pictures_are_pasted_into_a_chat(serve, tmp_path, message_format):
    yaml = CHAT.replace("KIND", "list").replace("FORMAT", message_format)
    url = str(serve(dag(tmp_path / "flow", yaml, say_py=IMAGES, count_py=COUNT)).base_url)

    async def talk():
        async with browser(tmp_path) as page:
            await page.open(url)
            await page.run(PASTE)
            await page.until("document.querySelectorAll('#composer img').length === 1")
            await page.type("what is this?", "Enter")
            await page.until("document.getElementById('log').innerText.includes('1 pictures of 28 bytes, and 1 text')")
            assert await page.run("document.querySelectorAll('.mine img').length") == 1
            assert page.complaints == []

    asyncio.run(talk())


@needs_browser
def test_a_form_has_a_field_for_each_input(serve, tmp_path):
    code = """
        def run(word: str, times: int = 2, loud: bool = False, extra: list = None):
            text = (word.upper() if loud else word) * times
            return {"text": text, "extra": extra}
    """
    url = str(serve(write(tmp_path / "flow", flow_flex_yaml="entry: m:run\n", m_py=code)).base_url)

    async def fill():
        async with browser(tmp_path) as page:
            await page.open(url)
            await page.type("ab")
            await page.run("document.getElementById('input-2').value = 'true'")
            await page.run("document.getElementById('input-3').value = '[1,'")
            await page.run("document.querySelector('form').requestSubmit()")
            await page.until("document.querySelector('[role=alert]')?.innerText.includes('extra is not JSON')")
            await page.run("document.getElementById('input-3').value = '[1]'")
            await page.run("document.querySelector('form').requestSubmit()")
            await page.until("document.querySelector('section').innerText.includes('ABAB')")
            assert await page.run("document.querySelector('[aria-invalid]')") is None
            assert page.complaints == []

    asyncio.run(fill())
