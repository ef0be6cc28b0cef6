"""A browser driven by the WebDriver protocol, with Python's standard library alone.

Chromium and chromedriver come from Debian's packages `chromium` and `chromium-driver`. A session that is left, in whatever
way, ends the driver and the browser that it started.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
TAB, ENTER, SPACE, SHIFT = "\ue004", "\ue007", " ", "\ue008"
UP, DOWN, LEFT, RIGHT = "\ue013", "\ue015", "\ue012", "\ue014"
WAIT_SECONDS = 30


class Failure(Exception):
    """Something is not as it should be; the text says what."""


class Browser:
    """One headless Chromium."""

    def __init__(self):
        self.scratch = tempfile.mkdtemp(prefix="page-test-")
        command = [shutil.which("chromedriver") or "/usr/bin/chromedriver", "--port=0"]
        self.driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.session = None
        try:
            self.base = "http://127.0.0.1:%d" % self._port()
            self.session = self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends what was started."""
        if self.session:
            try:
                self._send("DELETE", "")
            except (Failure, OSError):
                pass
        self.driver.terminate()
        self.driver.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _port(self):
        for line in self.driver.stdout:
            found = re.search(r"started successfully on port (\d+)", line)
            if found:
                return int(found.group(1))
        raise Failure("chromedriver did not start")

    def _start(self):
        arguments = [
            "--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900",
            "--no-first-run", "--no-default-browser-check", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--disable-extensions",
            "--user-data-dir=" + self.scratch,
        ]
        if os.geteuid() == 0:
            # Chromium refuses its sandbox to root, as whom containers run tests.
            arguments.append("--no-sandbox")
        options = {"args": arguments, "binary": shutil.which("chromium") or "/usr/bin/chromium"}
        always = {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "unhandledPromptBehavior": "dismiss and notify",
        }
        answer = self._request("POST", "/session", {"capabilities": {"alwaysMatch": always}})
        return answer["sessionId"]

    def _request(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            said = json.load(error)["value"]
            raise Failure("%s: %s" % (said["error"], said["message"].split("\n")[0])) from error

    def _send(self, method, path, body=None):
        return self._request(method, "/session/%s%s" % (self.session, path), body)

    def cdp(self, command, **parameters):
        """A command of the browser's own protocol."""
        return self._send("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, url):
        """Goes to an address."""
        self._send("POST", "/url", {"url": url})

    def reload(self):
        """Loads the page again."""
        self._send("POST", "/refresh", {})

    def js(self, script, *arguments):
        """What a function body returns."""
        return self._send("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, what, script, *arguments, seconds=WAIT_SECONDS):
        """What a function body returns once that is true."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.js(script, *arguments)
            if found:
                return found
            if time.monotonic() > deadline:
                raise Failure("waited %d s in vain: %s" % (seconds, what))
            time.sleep(0.05)

    def find(self, css, text=None):
        """The first shown element of a selector that holds this text; waits for it."""
        script = """
            return [...document.querySelectorAll(arguments[0])].find((element) =>
              element.getClientRects().length > 0 && (arguments[1] === null || element.textContent.includes(arguments[1])));
        """
        what = css if text is None else "%s with %r" % (css, text)
        return self.wait(what, script, css, text)[ELEMENT]

    def click(self, css, text=None):
        """Clicks as a person does: where the element is, if nothing covers it."""
        element = self.find(css, text)
        self.js("arguments[0].scrollIntoView({ block: 'center' })", {ELEMENT: element})
        self._send("POST", "/element/%s/click" % element, {})

    def type(self, css, text):
        """Replaces what a field holds."""
        element = self.find(css)
        self._send("POST", "/element/%s/clear" % element, {})
        self._send("POST", "/element/%s/value" % element, {"text": text})

    def choose(self, css, value):
        """Chooses an option of a list by its value, of which the beginning is enough."""
        chosen = self.js(
            """
            const option = [...arguments[0].options].find((one) => one.value.startsWith(arguments[1]));
            if (!option) return false;
            arguments[0].value = option.value;
            arguments[0].dispatchEvent(new Event('change', { bubbles: true }));
            return true;
            """,
            {ELEMENT: self.find(css)}, value,
        )
        if not chosen:
            raise Failure("%s has no option %r" % (css, value))

    def press(self, key, shift=False):
        """Presses a key."""
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        if shift:
            keys = [{"type": "keyDown", "value": SHIFT}, *keys, {"type": "keyUp", "value": SHIFT}]
        self._send("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def name_of(self, element):
        """The name by which an element is read aloud."""
        return self._send("GET", "/element/%s/computedlabel" % element)

    def all(self, css):
        """Every shown element of a selector."""
        script = "return [...document.querySelectorAll(arguments[0])].filter((one) => one.getClientRects().length > 0)"
        return [found[ELEMENT] for found in self.js(script, css)]

    def html(self, element):
        """An element's own tag, to name it in a failure."""
        return self.js("return arguments[0].outerHTML.slice(0, 160)", {ELEMENT: element})

    def colours(self, scheme):
        """Sets light or dark."""
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def phone(self, width):
        """Makes the window as narrow as a phone's; 0 for a desktop's."""
        if width:
            self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=740, deviceScaleFactor=2, mobile=True)
        else:
            self.cdp("Emulation.clearDeviceMetricsOverride")
        self.js("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def screenshot(self, path, most=2400):
        """Writes the whole page, down to a limit, as PNG."""
        size = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], most), "scale": 1}
        shot = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def log(self, kind):
        """What the browser noted since it was asked last: `browser` or `performance`."""
        return self._send("POST", "/se/log", {"type": kind})
