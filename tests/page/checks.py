"""What must hold on every view of the page, whatever it shows."""

import json
import os
import urllib.parse

from webdriver import ELEMENT, Failure

PHONE = 360
LEAST_CONTRAST = 4.5
MOST_NAMED = 150

# Contrast of every text that is shown, against the grounds below it put together.
CONTRAST = """
const parse = (text) => {
  const numbers = /^rgba?\\(([^)]*)\\)$/.exec(text);
  if (!numbers) throw new Error('no rgb: ' + text);
  const [r, g, b, a = 1] = numbers[1].split(/[ ,/]+/).map(Number);
  return [r, g, b, a];
};
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
const light = (colour) => {
  const [r, g, b] = colour.slice(0, 3).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
  return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
};
const texts = new Map();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.parentElement;
  if (node.data.trim() === '' || element.closest('script, noscript, option, title, desc, .unseen')) continue;
  if (element.getClientRects().length === 0 || !element.checkVisibility()) continue;
  texts.set(element, null);
}
for (const element of document.querySelectorAll('input:not([type=checkbox]), select')) if (element.getClientRects().length > 0) texts.set(element, null);
const all = [...texts.keys()].map((element) => [element, getComputedStyle(element)]);
for (const element of document.querySelectorAll('th, td, .twist')) {
  const before = getComputedStyle(element, '::before');
  if (element.getClientRects().length > 0 && before.content !== 'none' && before.content !== 'normal') all.push([element, before]);
}
const poor = new Map();
for (const [element, style] of all) {
  const below = ground(element);
  const colour = over(parse(element.namespaceURI.endsWith('svg') ? style.fill : style.color), below);
  const [a, b] = [light(colour), light(below)].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05) * Number(style.opacity);
  if (ratio < arguments[0]) poor.set(`${element.tagName}.${element.getAttribute('class') ?? ''}`, `${ratio.toFixed(2)} ${element.textContent.slice(0, 30)}`);
}
return { texts: all.length, poor: [...poor] };
"""

UNLABELLED = """
return [...document.querySelectorAll('input, select, textarea')].filter((one) =>
  ![...(one.labels ?? [])].some((label) => label.textContent.trim() !== '')).map((one) => one.outerHTML.slice(0, 160));
"""

# Text of the server's that became markup would show up as one of these.
FOREIGN = """
return [...document.querySelectorAll('main script, main img, main iframe, main b, main style, [onerror], [onclick], [style]')]
  .map((one) => one.outerHTML.slice(0, 160));
"""


def contrast(browser, view, scheme):
    """Text that is hard to read."""
    browser.colours(scheme)
    found = browser.js(CONTRAST, LEAST_CONTRAST)
    if found["texts"] < 5:
        raise Failure("%s: no text to look at" % view)
    if found["poor"]:
        raise Failure("%s, %s: contrast below %s: %s" % (view, scheme, LEAST_CONTRAST, found["poor"]))


def labels(browser, view):
    """Controls that a person who does not see them cannot tell."""
    bare = browser.js(UNLABELLED)
    if bare:
        raise Failure("%s: without a label: %s" % (view, bare))
    for element in browser.all("button, select, input, nav a, progress, [role=img], [role=tree]")[:MOST_NAMED]:
        if not browser.name_of(element).strip():
            raise Failure("%s: without a name: %s" % (view, browser.html(element)))


def headings(browser, view):
    """One h1, and no level left out."""
    levels = browser.js("return [...document.querySelectorAll('main :is(h1,h2,h3,h4)')].map((one) => Number(one.tagName[1]))")
    if levels.count(1) != 1 or levels[0] != 1:
        raise Failure("%s: headings %s" % (view, levels))
    if any(after > before + 1 for before, after in zip(levels, levels[1:])):
        raise Failure("%s: a level of headings is left out: %s" % (view, levels))


def narrow(browser, view):
    """What a phone would have to be scrolled sideways for, or is too small to be touched."""
    seen = browser.js("return [innerWidth, document.documentElement.scrollWidth]")
    if seen[0] != PHONE or seen[1] > PHONE:
        wide = browser.js(
            "return [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > arguments[0] + 1)"
            ".slice(0, 8).map((one) => one.outerHTML.slice(0, 80))", PHONE)
        raise Failure("%s: wider than a phone, %s: %s" % (view, seen, wide))
    small = browser.js(
        "return [...document.querySelectorAll('button, select, input:not([type=checkbox])')].filter((one) =>"
        " one.getClientRects().length > 0 && one.getBoundingClientRect().height < 24).map((one) => one.outerHTML.slice(0, 80))")
    if small:
        raise Failure("%s: too small to touch: %s" % (view, small))


def audit(browser, view, out):
    """All of them, in light, dark and as on a phone, with a screenshot of each."""
    problems = []
    foreign = browser.js(FOREIGN)
    if foreign:
        problems.append("%s: markup that the page does not make: %s" % (view, foreign))

    def check(test, *arguments):
        try:
            test(browser, view, *arguments)
        except Failure as failure:
            problems.append(str(failure))

    check(labels)
    check(headings)
    for scheme in ("light", "dark"):
        check(contrast, scheme)
        browser.screenshot(os.path.join(out, "%s-%s.png" % (view, scheme)))
    browser.phone(PHONE)
    try:
        check(narrow)
        for scheme in ("dark", "light"):
            check(contrast, scheme)
        browser.screenshot(os.path.join(out, "%s-phone.png" % view))
    finally:
        browser.phone(0)
    if problems:
        raise Failure("; ".join(problems))


def visible_focus(browser):
    """Whether a person sees where the focus is."""
    return browser.js(
        """
        const at = document.activeElement;
        const shows = (one) => {
          const style = getComputedStyle(one);
          return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
        };
        return shows(at) || (at.getAttribute('role') === 'treeitem' && shows(at.firstElementChild));
        """
    )


def quiet(browser):
    """Errors of scripts, and what the content policy had to stop. Refused requests are part of the test."""
    bad = [entry for entry in browser.log("browser") if entry["level"] in ("SEVERE", "WARNING") and entry["source"] != "network"]
    if bad:
        raise Failure("the browser complained: %s" % [entry["message"] for entry in bad])


def alone(browser, base):
    """Requests to any other host than the daemon."""
    home = urllib.parse.urlsplit(base).netloc
    asked = set(browser.js("return performance.getEntries().map((one) => one.name)"))
    for entry in browser.log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    away = [url for url in asked
            if url.startswith(("http:", "https:", "ws:", "wss:")) and urllib.parse.urlsplit(url).netloc != home]
    own = [url for url in asked if urllib.parse.urlsplit(url).netloc == home]
    if away or not own:
        raise Failure("requests to other hosts: %s" % (away or "none seen at all"))


def element(found):
    """An element as an argument of a script."""
    return {ELEMENT: found}
