"""A headless Chromium for tests, and a record of everything that goes wrong in a page."""

import contextlib
import shutil
import time

from playwright.sync_api import sync_playwright
from processes import START_SECONDS

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WATCH_POLICY = """
addEventListener("securitypolicyviolation", (event) =>
    console.error("policy violated: " + event.violatedDirective + " " + event.blockedURI));
"""


@contextlib.contextmanager
def chromium():
    with sync_playwright() as playwright:
        program = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """One page in a context of its own. `problems` are its errors, in the console or not."""

    def __init__(self, browser, **options):
        options = {"viewport": {"width": 1200, "height": 800}, **options}
        self.context = browser.new_context(**options)
        self.context.add_init_script(WATCH_POLICY)
        self.page = self.context.new_page()
        self.problems = []
        self.sockets = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("websocket", lambda socket: self.sockets.append(socket.url))

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def eventually(self, script, argument=None):
        """Waits until a script is true. Playwright's own way needs eval, which the page forbids."""
        end = time.monotonic() + START_SECONDS
        while not self.page.evaluate(script, argument):
            assert time.monotonic() < end, f"never came true: {script} {argument}"
            self.page.wait_for_timeout(20)

    def texts(self, selector):
        return self.page.eval_on_selector_all(selector, "all => all.map((one) => one.textContent)")
