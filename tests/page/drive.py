#!/usr/bin/env python3
"""Drives the page of a running daemon in a headless Chromium, and fails where it does not do what it should.

    drive.py BASE_URL TOKEN OUT_DIR CASE.json [STEP...]

BASE_URL is the daemon's (`http://127.0.0.1:8088`), TOKEN one of the role admin, OUT_DIR gets a screenshot of each view in
light, dark and as on a phone. CASE.json says what is there to be seen:

    {
      "cluster": "prod",                      a cluster whose backup succeeds
      "state": "ok",                          its state before that; left out: any
      "browse": {
        "snapshot": "latest",                 an id, the beginning of one, or `latest`
        "path": "/brokers/topics/orders",     walked to by clicking, name by name
        "value": "\"version\": 3",            text that its value, as laid out by the page, holds
        "null": "/a", "empty": "/b",          left out where there is none: nodes whose value is null, and empty
        "many": "/ledgers",                   left out where there is none: a node of more than 1,000 children
        "large": "/c"                         left out where there is none: a value of more than 64 KiB
      },
      "diff": {
        "old": "4f1c", "new": "9a02",         the beginnings of two ids of that cluster
        "path": "/brokers/topics/new",        a node that differs, and how
        "change": "created"
      },
      "restore": {
        "snapshot": "4f1c", "path": "/config", "target": "staging",
        "conflict": "overwrite",              fail, skip, overwrite or newer; left out: fail
        "outcome": "succeeded",               the state in which the job ends; left out: succeeded
        "writes": true                        whether anything is to be written; left out: true
      },
      "conflict": {                           left out where there is none: a restore that its plan forbids
        "snapshot": "4f1c", "path": "/config", "target": "lab", "why": "differs"
      },
      "failing": {                            a cluster whose last backup failed, and text of its error
        "cluster": "broken", "error": "refused"
      },
      "read_token": "..."                     left out where there is none: a token of the role read
    }

STEP names a function of this file, to do only that one after the first. One line a step on standard output; ends with 0 where all of them passed, with 1 otherwise, with 2 when called wrongly.
"""

import json
import os
import sys
import traceback

# Nothing is left behind in the checkout.
sys.dont_write_bytecode = True

import checks
from webdriver import DOWN, ENTER, LEFT, RIGHT, TAB, Browser, Failure

JOB_SECONDS = 120


class Page:
    """The page and what it should show."""

    def __init__(self, browser, base, token, out, case):
        self.browser, self.base, self.token, self.out, self.case = browser, base.rstrip("/"), token, out, case
        #: What audits of this step found. It is said at the step's end, so that a pale colour does not hide all that follows.
        self.found = []

    def go(self, where):
        """Shows a view, from nothing, and waits until it has said something."""
        self.browser.open("about:blank")
        self.browser.open("%s/#%s" % (self.base, where))
        self.browser.wait("view %s" % where, "return document.querySelector('main h1') && document.querySelector('main .body')?.children.length > 0")

    def card(self, name):
        """The selector of a cluster's card."""
        return '[data-cluster="%s"]' % name

    def audit(self, view):
        try:
            checks.audit(self.browser, view, self.out)
        except Failure as failure:
            self.found.append(str(failure))

    def text(self, css):
        """The text of an element."""
        return self.browser.js("return document.querySelector(arguments[0])?.textContent ?? ''", css)

    def see(self, css, text, seconds=30):
        """Waits until an element holds a text."""
        self.browser.wait(
            "%s holds %r" % (css, text),
            "return [...document.querySelectorAll(arguments[0])].some((one) => one.textContent.includes(arguments[1]))",
            css, text, seconds=seconds)

    def field(self, label):
        """The selector of the control with this label."""
        found = self.browser.wait(
            "a field %r" % label,
            "return [...document.querySelectorAll('main label')].find((one) => one.textContent.startsWith(arguments[0]))?.htmlFor", label)
        return "#" + found


def asks_for_a_token(page):
    """Without a token nothing is shown; a wrong one is refused in words; the right one stays in this tab alone."""
    browser = page.browser
    browser.open(page.base + "/")
    browser.find("main input[type=password]")
    browser.type("main input[type=password]", "not-a-token-of-this-daemon")
    browser.click("main button", "Go on")
    page.see("main", "does not know this token")
    page.audit("token")
    browser.type("main input[type=password]", page.token)
    browser.click("main button", "Go on")
    browser.find(page.card(page.case["cluster"]))
    kept = browser.js("return [Object.values(sessionStorage), Object.values(localStorage), document.cookie, location.href]")
    if kept[0] != [page.token] or kept[1] or kept[2] or page.token in kept[3]:
        raise Failure("the token is kept where it should not be: %s" % kept[1:])


def clusters_show_their_state(page):
    """A state is a word beside a shape."""
    page.go("/clusters")
    card = page.card(page.case["cluster"])
    page.browser.find(card + " .mark svg")
    state = page.browser.js("return document.querySelector(arguments[0]).dataset.state", card + " .head .mark")
    wanted = page.case.get("state")
    if wanted and state != wanted:
        raise Failure("the cluster is %r and not %r" % (state, wanted))
    if not page.text(card + " .head .mark").strip():
        raise Failure("the state has no word")
    for term in ("Last success", "Next run", "Source"):
        page.see(card + " dt", term)
    page.audit("clusters")


def a_backup_is_started_and_succeeds(page):
    """From the card; it is said aloud; the job's page shows the figures."""
    page.go("/clusters")
    card = page.card(page.case["cluster"])
    page.browser.click(card + " button", "Back up now")
    page.see("#announce", page.case["cluster"])
    page.browser.wait("the backup's end", "return document.querySelector(arguments[0])", card + " .place .mark[data-state]", seconds=JOB_SECONDS)
    page.browser.find(card + " .place .mark[data-state=succeeded]")
    page.see("#announce", "succeeded")
    page.browser.click(card + " a", "Its figures")
    page.see("main h2", "Figures")
    page.browser.find("main .mark[data-state=succeeded]")
    page.audit("job")
    page.go("/jobs")
    page.browser.find("main table .mark[data-state=succeeded]")
    page.audit("jobs")


def a_cluster_is_paused_and_resumed(page):
    """And the focus stays on the button meanwhile."""
    page.go("/clusters")
    card = page.card(page.case["cluster"])
    page.browser.click(card + " button", "Pause")
    page.browser.find(card + " button", "Resume")
    if "Resume" not in page.browser.js("return document.activeElement.textContent"):
        raise Failure("the focus left the button")
    page.browser.click(card + " button", "Resume")
    page.browser.find(card + " button", "Pause")


def snapshots_are_listed_and_drawn(page):
    """The drawing has a title, a description and the table."""
    page.go("/snapshots?cluster=%s" % page.case["cluster"])
    page.browser.find("main tbody tr")
    chart = page.browser.find("main svg[role=img]")
    if page.case["cluster"] not in page.browser.name_of(chart):
        raise Failure("the chart is not named: %r" % page.browser.name_of(chart))
    rows, points = page.browser.js(
        "return [document.querySelectorAll('main tbody tr').length, document.querySelectorAll('main svg .point').length]")
    if rows != points:
        raise Failure("%d rows but %d points" % (rows, points))
    page.audit("snapshots")
    page.browser.click("main tbody a code")
    page.see("main h2", "Keeping it")
    page.audit("snapshot")


def walk(page, path):
    """Clicks down the tree to a path."""
    way = ""
    for name in [part for part in path.split("/") if part]:
        way += "/" + name
        # The item is found by its place: names repeat at other levels.
        script = """
            let at = document.querySelector('[role=tree] > [role=treeitem]');
            for (const name of arguments[0].split('/').slice(1)) {
              const all = at.querySelectorAll(':scope > [role=group] > [role=treeitem]');
              at = [...all].find((one) => one.querySelector(':scope > .node .name')?.textContent === name);
              if (!at) return null;
            }
            at.firstElementChild.scrollIntoView({ block: 'center' });
            document.querySelectorAll('[data-here]').forEach((one) => delete one.dataset.here);
            at.firstElementChild.dataset.here = '';
            return true;
        """
        page.browser.wait("%s in the tree" % way, script, way)
        page.browser.click("[data-here] .name")


def a_node_is_browsed_to(page):
    """Its value, stat and ACL; null and empty differ; the address leads back to it."""
    wanted = page.case["browse"]
    page.go("/snapshots/%s/nodes" % wanted["snapshot"])
    page.browser.find("[role=tree] [role=treeitem]")
    walk(page, wanted["path"])
    page.see(".detail h2", wanted["path"])
    page.see("[data-value=bytes]", wanted["value"])
    for term in ("Version", "Created", "Type"):
        page.see(".detail dt", term)
    page.browser.find(".detail table")
    page.audit("node")
    page.browser.reload()
    page.see(".detail h2", wanted["path"])
    page.see("[data-value=bytes]", wanted["value"])
    for what in ("null", "empty"):
        if what in wanted:
            page.browser.type(page.field("Path"), wanted[what])
            page.browser.click("main form button", "Go")
            page.see(".detail h2", wanted[what])
            page.see('[data-value="%s"]' % what, what)
    page.browser.type(page.field("Path"), "/no/such/node")
    page.browser.click("main form button", "Go")
    page.see(".detail", "No such node")


def much_is_shown_in_parts(page):
    """Thousands of children come by pages, large values by their beginning."""
    wanted = page.case["browse"]
    if "many" in wanted:
        page.go("/snapshots/%s/nodes?path=%s" % (wanted["snapshot"], wanted["many"]))
        shown = "return document.querySelectorAll('[aria-selected=true] > [role=group] > [role=treeitem]').length"
        first = page.browser.wait("children", shown)
        page.browser.click("[role=treeitem].more .node")
        page.browser.wait("more than %d children" % first, "return (() => { %s })() > arguments[0]" % shown, first)
        page.audit("many")
    if "large" in wanted:
        page.go("/snapshots/%s/nodes?path=%s" % (wanted["snapshot"], wanted["large"]))
        page.see(".detail", "Only the first 64")
        length = page.browser.js("return document.querySelector('[data-value=bytes]').textContent.length")
        if length > 64 * 1024:
            raise Failure("%d characters of a large value are shown" % length)
        page.audit("large")


def two_snapshots_are_compared(page):
    """By the form, from the cluster's list."""
    wanted = page.case["diff"]
    page.go("/diff?cluster=%s" % page.case["cluster"])
    page.browser.choose(page.field("Before"), wanted["old"])
    page.browser.choose(page.field("After"), wanted["new"])
    page.browser.click("main button", "Compare")
    page.see("[data-summary]", "created")
    page.browser.wait(
        "%s %s" % (wanted["path"], wanted["change"]),
        "return [...document.querySelectorAll('main tbody tr')].some((row) => row.querySelector('th code').textContent === arguments[0]"
        " && row.textContent.includes(arguments[1]))", wanted["path"], wanted["change"])
    page.audit("diff")


def make_plan(page, wanted):
    """Fills the form and sends it."""
    page.go("/restore?cluster=%s" % page.case["cluster"])
    page.browser.choose(page.field("Snapshot"), wanted["snapshot"])
    page.browser.type(page.field("Path"), wanted["path"])
    page.browser.choose(page.field("Target"), wanted["target"])
    page.browser.choose(page.field("Nodes that differ"), wanted.get("conflict", "fail"))


def a_restore_is_planned_confirmed_and_done(page):
    """A wrong name does nothing; the right one starts the job, whose result is shown."""
    wanted = page.case["restore"]
    make_plan(page, wanted)
    page.browser.click("main button", "Put a subtree elsewhere")
    page.audit("restore")
    page.browser.click("main button", "Remove")
    page.browser.click("main button", "Make the plan")
    page.see("main h2", "What it would do")
    if wanted.get("writes", True):
        page.browser.find("main [data-count]")
    page.audit("plan")
    name = page.field("To confirm")
    page.browser.type(name, wanted["target"] + "-not")
    page.browser.click("main button.danger", "Restore")
    page.see("main [role=alert]", "Nothing was done")
    page.browser.type(name, wanted["target"])
    page.browser.click("main button.danger", "Restore")
    page.see("main h1", "Job")
    outcome = wanted.get("outcome", "succeeded")
    page.browser.wait("the restore's end", "return document.querySelector('main [data-restored]')", seconds=JOB_SECONDS)
    page.browser.find('main .facts .mark[data-state="%s"]' % outcome)
    page.see("[data-restored]", "writes confirmed")
    page.audit("restored")


def a_plan_in_conflict_cannot_be_confirmed(page):
    """It says why, and there is nothing to press."""
    wanted = page.case.get("conflict")
    if not wanted:
        return
    make_plan(page, wanted)
    page.browser.click("main button", "Make the plan")
    page.see("[data-conflicts], [data-refusals]", wanted["why"])
    if page.browser.all("main button.danger"):
        raise Failure("a plan in conflict can be confirmed")
    page.audit("conflict")


def failures_are_seen(page):
    """Of a cluster, with its error; of a path that is not there; of a snapshot that is not there."""
    wanted = page.case["failing"]
    page.go("/clusters")
    card = page.card(wanted["cluster"])
    page.browser.find(card + " .head .mark[data-state=failing]")
    page.see(card + " .problem", wanted["error"])
    make_plan(page, {**page.case["restore"], "path": "/no/such/node"})
    page.browser.click("main button", "Make the plan")
    page.browser.find("main .problem")
    page.go("/snapshots/00000000")
    page.browser.find("main .problem")
    page.audit("failure")


def tab_to(page, script, *arguments, most=200):
    """Presses Tab until the focused element is the one; everything on the way shows that it is focused."""
    for _ in range(most):
        page.browser.press(TAB)
        if not checks.visible_focus(page.browser):
            raise Failure("the focus is not to be seen on %s" % page.browser.js("return document.activeElement.outerHTML.slice(0, 160)"))
        if page.browser.js("const at = document.activeElement; " + script, *arguments):
            return
    raise Failure("not reached by Tab: %s %s" % (script, arguments))


def heading_has_focus(page):
    """After a change of view, reading goes on at its heading."""
    page.browser.wait("focus on the heading", "return document.activeElement.tagName === 'H1'")


def everything_by_keyboard(page):
    """Skip link, a backup, the snapshots, the tree: without a pointer."""
    browser, name = page.browser, page.case["cluster"]
    page.go("/clusters")
    browser.find(page.card(name))
    tab_to(page, "return at.id === 'skip'", most=1)
    browser.press(ENTER)
    browser.wait("focus in main", "return document.activeElement.id === 'main'")
    inside = "return at.closest('[data-cluster]')?.dataset.cluster === arguments[0] && at.textContent === arguments[1]"
    tab_to(page, inside, name, "Back up now")
    browser.press(ENTER)
    browser.find(page.card(name) + " .place .mark[data-state=succeeded]")
    tab_to(page, inside, name, "Snapshots")
    browser.press(ENTER)
    page.see("main h1", "Snapshots")
    heading_has_focus(page)
    browser.find("main tbody tr")
    tab_to(page, "return at.textContent.startsWith('Browse')")
    browser.press(ENTER)
    page.see("main h1", "Browse")
    heading_has_focus(page)
    browser.find("[role=treeitem] [role=treeitem]")
    tab_to(page, "return at.getAttribute('role') === 'treeitem'")
    browser.press(DOWN)
    level = "return document.activeElement.getAttribute('aria-level')"
    if browser.js(level) != "2" or not checks.visible_focus(browser):
        raise Failure("Down does not lead into the tree")
    browser.press(ENTER)
    first = browser.js("return document.activeElement.querySelector('.name').textContent")
    page.see(".detail h2", "/" + first)
    browser.press(RIGHT)
    # Into a child where there is one; then out of it, closed, and to the parent.
    for _ in range(3):
        if browser.js(level) != "1":
            browser.press(LEFT)
    if browser.js(level) != "1":
        raise Failure("Left does not lead back to the root")


def a_snapshot_is_tagged_and_protected(page):
    """What is protected is not forgotten, and the page says why."""
    browser = page.browser
    page.go("/snapshots/%s" % page.case["diff"]["old"])
    browser.type(page.field("Tags"), "kept, <b>by-test</b>")
    browser.click("main button", "Save the tags")
    browser.find("main .tag", "<b>by-test</b>")
    browser.js("document.querySelector(arguments[0]).value = '2199-12-31'", page.field("Protected until"))
    browser.click("main button", "Protect")
    browser.find("main button", "No longer protect")
    browser.click("main button", "Forget this snapshot")
    browser.find("dialog[open]")
    if browser.js("return document.activeElement.value") != "no":
        raise Failure("the dialog does not begin at the harmless answer")
    browser.click("dialog button", "Leave it")
    browser.wait("the dialog's end", "return !document.querySelector('dialog')")
    browser.click("main button", "Forget this snapshot")
    browser.click("dialog button", "Forget it")
    browser.find("main .problem", "409")
    page.audit("protected")
    browser.click("main button", "No longer protect")
    browser.wait("protection's end", "return ![...document.querySelectorAll('main button')].some((one) => one.textContent === 'No longer protect')")


# Each line of `wanted` is what the function gives, computed in the browser from the modules as served.
PARTS = r"""
const [{ indent }, path, text, api] = await Promise.all(['json', 'path', 'text', 'api'].map((name) => import(`/page/${name}.js`)));
const got = {
  numbers: indent('{"z":12345678901234567890.10,"a":["x,{\\\"",[],{}]}'),
  cut: indent('{"a":'), scalar: indent('1'),
  bytes: path.wireOf({ path: '/a\xff', path_base64: 'L2H/' }),
  unicode: path.wireOf({ path: '/\u00e9 &#?' }),
  typed: ['a//b/', '/', ''].map(path.wireOfTyped),
  way: path.ancestry('%2Fa%2Fb%FF').map(({ wire }) => wire),
  spans: [0, 89, 90, 3599, 12000, 86400 * 3].map(text.span),
  sizes: [0, 1023, 1024, 1048575, 5e9].map(text.bytes),
  hidden: text.visible('a\u202eb\u0000\u200bc\u00fc'),
};
const parts = ['event: progress\r', '\ndata: {"n":', '1}\n\nevent: e', 'nd\ndata: a\ndata: b\n', '\n: comment\n\ndata: cut off'];
const fetched = window.fetch;
window.fetch = async () => new Response(new ReadableStream({
  start(controller) { parts.forEach((part) => controller.enqueue(new TextEncoder().encode(part))); controller.close(); },
}));
got.events = [];
try { for await (const { event, data } of api.events('/x')) got.events.push([event, data]); } finally { window.fetch = fetched; }
return got;
"""

PARTS_WANTED = {
    "numbers": '{\n  "z": 12345678901234567890.10,\n  "a": [\n    "x,{\\\"",\n    [],\n    {}\n  ]\n}',
    "cut": None, "scalar": None,
    "bytes": "%2Fa%FF", "unicode": "%2F%C3%A9%20%26%23%3F",
    "typed": ["%2Fa%2Fb", "%2F", "%2F"],
    "way": ["%2F", "%2Fa", "%2Fa%2Fb%FF"],
    "spans": ["0 s", "89 s", "2 min", "1 h", "3 h 20 min", "3 d"],
    "sizes": ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "4.7 GiB"],
    "hidden": "a\\u{202e}b\\u{0}\\u{200b}c\u00fc",
    "events": [["progress", '{"n":1}'], ["end", "a\nb"]],
}


def small_parts_are_right(page):
    """Laying out JSON, paths on the wire, words for numbers, events cut anywhere by the network."""
    page.go("/clusters")
    got = page.browser.js("return (async () => { %s })()" % PARTS)
    for name, wanted in PARTS_WANTED.items():
        if got[name] != wanted:
            raise Failure("%s: %r and not %r" % (name, got[name], wanted))


def a_weak_token_is_told_apart(page):
    """What a token may not do is said with the role that may; forgetting the token asks for one."""
    browser = page.browser
    page.go("/clusters")
    browser.click("#sign-out")
    browser.find("main input[type=password]")
    if browser.js("return sessionStorage.length") != 0:
        raise Failure("the token was not forgotten")
    if "read_token" not in page.case:
        return
    browser.type("main input[type=password]", page.case["read_token"])
    browser.click("main button", "Go on")
    card = page.card(page.case["cluster"])
    browser.click(card + " button", "Back up now")
    page.see(card + " .problem", "role backup")
    wanted = page.case["browse"]
    page.go("/snapshots/%s/nodes?path=%s" % (wanted["snapshot"], wanted["path"]))
    page.see(".detail .problem", "role values")
    page.audit("weak")


STEPS = [
    asks_for_a_token, clusters_show_their_state, a_backup_is_started_and_succeeds, a_cluster_is_paused_and_resumed,
    snapshots_are_listed_and_drawn, a_node_is_browsed_to, much_is_shown_in_parts, two_snapshots_are_compared,
    a_restore_is_planned_confirmed_and_done, a_plan_in_conflict_cannot_be_confirmed, failures_are_seen,
    a_snapshot_is_tagged_and_protected, small_parts_are_right, everything_by_keyboard, a_weak_token_is_told_apart,
]


def main(arguments):
    if len(arguments) < 4:
        print(__doc__, file=sys.stderr)
        return 2
    base, token, out, case, *only = arguments
    steps = [step for step in STEPS if not only or step is STEPS[0] or step.__name__ in only]
    with open(case, encoding="utf-8") as file:
        case = json.load(file)
    os.makedirs(out, exist_ok=True)
    failed = 0
    with Browser() as browser:
        page = Page(browser, base, token, out, case)
        browser.colours("light")
        for step in steps:
            name = step.__name__.replace("_", " ")
            try:
                step(page)
                checks.quiet(browser)
                checks.alone(browser, base)
                if page.found:
                    raise Failure("; ".join(page.found))
                print("ok    %s" % name, flush=True)
                continue
            except Failure as failure:
                print("FAIL  %s: %s" % (name, failure), flush=True)
            except Exception:  # A fault of the test itself is one too.
                print("FAIL  %s:\n%s" % (name, traceback.format_exc()), flush=True)
            failed += 1
            page.found = []
            browser.screenshot(os.path.join(out, "failed-%s.png" % step.__name__))
            browser.phone(0)
            browser.colours("light")
            if browser.js("return sessionStorage.length") == 0 and step is STEPS[0]:
                # Without a token there is nothing to be seen.
                break
    print("%d of %d steps passed" % (len(steps) - failed, len(steps)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
