"""An explorer page in a browser: its buttons are pressed, and what is shown is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.browser import Page, address_of

_READ = """
(function read() {
  const text = (selector) => document.querySelector(selector).textContent;
  const listed = (selector) => Object.fromEntries([...document.querySelectorAll(selector + " dd")].map(
    (one) => [one.dataset.name, one.textContent]));
  return {
    state: text("#state"), context: listed("#context"), why: listed("#why"), said: text("#said"),
    tickets: [...document.querySelectorAll("#tickets li[data-ticket] > span")].map((one) => one.textContent),
    step: text("#count"), current: document.querySelector("#canvas .node.current").getAttribute("aria-label"),
  };
})
"""

_SCRIPTS = """
(function run(scripts) {
  const read = READ;
  const set = (selector, value) => {
    const one = document.querySelector(selector);
    if (one.value === String(value)) return;
    one.value = value;
    one.dispatchEvent(new Event("change"));
  };
  return scripts.map(({begin, events}) => {
    document.querySelector("#begin").value = begin;
    document.querySelector("#begin").dispatchEvent(new Event("change"));
    return [read(), ...events.map(({label, facts}) => {
      (facts || []).forEach(([fact, value]) => { if (document.querySelector(fact)) set(fact, value); });
      document.querySelector(`[data-label="${label}"]`).click();
      return read();
    })];
  });
})
""".replace("READ", _READ.strip())


class Explorer:
    """A page that `explorer_page` has made, in a tab."""

    def __init__(self, page: Page, text: str, folder: Path) -> None:
        self.page = page
        self.path = folder / "explorer.html"
        self.path.write_text(text, encoding="utf-8")
        self.open()

    def open(self, fragment: str = "") -> None:
        """Load it, with what follows the # of a link."""
        self.page.open("about:blank")
        self.page.open(address_of(self.path) + fragment)

    @property
    def link(self) -> str:
        """What follows the # in the address, once it says where we are."""
        self.page.wait("document.documentElement.dataset.linked === 'true'")
        return str(self.page.run("location.hash"))

    @property
    def shown(self) -> dict[str, Any]:
        """What is shown now."""
        found: dict[str, Any] = self.page.run(f"{_READ}()")
        return found

    def press(self, *labels: str) -> None:
        """Press the buttons of events."""
        for label in labels:
            self.page.click(f'[data-label="{label}"]')

    def played(self, scripts: Sequence[Any]) -> list[list[dict[str, Any]]]:
        """Press the buttons of whole scripts, each from its beginning; return what was shown after each event."""
        found: list[list[dict[str, Any]]] = self.page.run(f"{_SCRIPTS}({json.dumps(scripts)})")
        return found

    def load(self, text: str) -> str:
        """Give it something to play as text; return what it says of it."""
        self.page.run(f'document.getElementById("paste").value = {json.dumps(text)}')
        self.page.click("#read")
        return self.page.text("#loaded")

    def read_file(self, path: Path) -> str:
        """Give it a file to play; return what it says of it."""
        root = self.page.call("DOM.getDocument")["root"]["nodeId"]
        node = self.page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        self.page.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)
        return self.page.text("#loaded")

    def frames(self) -> list[dict[str, Any]]:
        """Go through all steps, first to last; return what was shown at each."""
        self.page.click("#first")
        found = [self.shown]
        for _ in range(int(found[0]["step"].split()[-1])):
            self.page.click("#forward")
            found.append(self.shown)
        return found
