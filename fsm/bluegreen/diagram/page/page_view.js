"use strict";

// What is shown of a walk. It is built once; `show` fills it for one frame.

const MARKS = { go: "→", stay: "=", ignore: "·", forbid: "✕", outside: "?", gap: "!" };
const WORDS = { go: "leads to", stay: "stays", ignore: "ignored", forbid: "forbidden", outside: "not in this page", gap: "not decided" };

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  Object.entries(attributes || {}).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...children);
  return made;
}

function told(value) {
  if (value === null || value === undefined) return "none";
  if (Array.isArray(value)) return value.length ? value.map(told).join(", ") : "none";
  if (typeof value === "object") return Object.entries(value).map(([name, one]) => `${name} ${told(one)}`).join("; ");
  return String(value);
}

function pairs(list, entries) {
  list.replaceChildren(...entries.flatMap(([name, value]) => [
    element("dt", {}, name), element("dd", { "data-name": name }, value instanceof Node ? value : told(value)),
  ]));
}

function viewOf(data, walker, act) {
  const at = (id) => document.getElementById(id);
  const picture = picturesOf(data, at("canvas"), at("key"), act);
  const buttons = [];
  const becauses = [];
  let shownState = null;
  let shownFrame = null;
  let scrolling = false;
  build();

  function build() {
    at("horizon").textContent = data.horizon ? `Not everything: ${data.horizon}.` : "";
    data.events.forEach((event, index) => {
      const own = data.inputs.map((input, number) => [input, number]).filter(([input]) => input.event === index);
      if (own.length === 0) return;
      const inside = element("div", { class: "inputs" });
      own.forEach(([input, number]) => {
        const button = element("button", { type: "button", "data-input": number, "data-label": input.label });
        button.addEventListener("click", () => act.press(number));
        ["focus", "mouseenter"].forEach((kind) => button.addEventListener(kind, () => preview(number)));
        buttons[number] = button;
        inside.append(button);
      });
      const because = element("p", { class: "because" });
      becauses[index] = because;
      const title = `${event}${data.safe.includes(index) ? " ◆" : ""}`;
      at("event-list").append(element("div", { class: "event", "data-event": event }, element("h3", {}, title), inside, because));
    });
    at("preview").textContent = "Move to an event to see what it would do, and why.";
  }

  function show(frame, frames, number) {
    shownFrame = frame;
    at("state").textContent = data.states[frame.state].name;
    at("holds").textContent = data.states[frame.state].holds ? `Here holds: ${data.states[frame.state].holds}.` : "";
    const version = frame.version === null ? [] : [["state_version", frame.version]];
    pairs(at("context"), walker.compiled || frame.context ? [...walker.context(frame), ...version] : version);
    showChoices(frame);
    const fixed = Object.entries(data.beginnings[frame.beginning].fixed);
    at("fixed").hidden = fixed.length === 0;
    pairs(at("fixed-list"), fixed);
    at("begin").value = frame.beginning;
    showTickets(frame);
    showEvents(frame);
    showSteps(frames, number);
    picture.show(frame);
    showRows(frame.state, frame.did ? frame.did.row : null);
    pairs(at("why"), frame.did ? reasons(frame) : []);
  }

  function reasons(frame) {
    const { did } = frame;
    const row = did.row === null ? null : data.rows[did.row];
    const entries = [["row", row ? row.name : "none"], ["reason", did.why]];
    if (row && row.guard) entries.push(["guard", row.guard]);
    if (did.facts) entries.push(["because", did.facts]);
    entries.push(["effects", did.effects]);
    if (did.note) entries.push(["the log", did.note]);
    return entries;
  }

  function showChoices(frame) {
    if (walker.compiled) return at("choices").replaceChildren();
    const focused = document.activeElement && document.activeElement.id;
    at("choices").replaceChildren(...walker.factsAt(frame).map((fact) => {
      const select = element("select", { id: `fact-${fact}` });
      walker.domain(frame.state, fact).forEach((value) => select.append(element("option", { value }, data.facts[fact].values[value])));
      select.value = walker.chosen(frame, fact);
      select.addEventListener("change", () => act.choose(fact, Number(select.value)));
      return element("label", {}, element("span", { class: "mono" }, data.facts[fact].name), select);
    }));
    if (focused && focused.startsWith("fact-") && at(focused)) at(focused).focus();
  }

  function showTickets(frame) {
    if (frame.tickets.length === 0) return at("tickets").replaceChildren(element("li", {}, "none is open"));
    at("tickets").replaceChildren(...frame.tickets.map((ticket) => {
      const text = `#${ticket.number === null ? "?" : ticket.number} on ${ticket.strategy}${ticket.version === null ? "" : `, version ${ticket.version}`}`;
      const line = element("li", { "data-ticket": String(ticket.number) }, element("span", {}, text));
      data.inputs.forEach((input, number) => {
        if (input.ends !== ticket.strategy || walker.decide(frame, number).outcome === "outside") return;
        const button = element("button", { type: "button", "aria-label": `${data.events[input.event]} ${text}` }, data.events[input.event].replace("query_", ""));
        button.addEventListener("click", () => act.press(number, ticket.number));
        line.append(button);
      });
      return line;
    }));
  }

  function showEvents(frame) {
    const because = new Map();
    data.inputs.forEach((input, number) => {
      const found = walker.decide(frame, number);
      const refused = refuses(found.outcome);
      const goal = found.outcome === "go" ? data.states[found.to].name : WORDS[found.outcome];
      const name = input.detail || data.events[input.event];
      const button = buttons[number];
      button.textContent = `${name} ${MARKS[found.outcome]} ${goal}`;
      button.setAttribute("aria-label", `${input.label}: ${found.outcome === "go" ? "leads to " : ""}${goal}${refused ? `: ${found.why}` : ""}`);
      button.setAttribute("aria-disabled", String(refused));
      button.dataset.outcome = found.outcome;
      if (refused) {
        const why = `${MARKS[found.outcome]} ${WORDS[found.outcome]}: ${found.why}`;
        if (!because.has(input.event)) because.set(input.event, new Set());
        because.get(input.event).add(why);
      }
    });
    becauses.forEach((line, event) => { line.textContent = [...(because.get(event) || [])].join(". "); });
    const focused = buttons.indexOf(document.activeElement);
    if (focused >= 0) preview(focused);
  }

  function preview(number) {
    const found = walker.decide(shownFrame, number);
    const row = found.row === null ? null : data.rows[found.row];
    const head = `${data.inputs[number].label}: ${WORDS[found.outcome]}${found.outcome === "go" ? ` ${data.states[found.to].name}` : ""}`;
    const lines = [element("p", {}, element("b", {}, head)), element("p", {}, `Reason: ${found.why}`)];
    if (found.facts) lines.push(element("p", {}, `Known here: ${found.facts}`));
    const others = walker.cell(shownFrame.state, data.inputs[number].event);
    others.filter((index) => data.rows[index].guard).forEach((index) => {
      const one = data.rows[index];
      const goal = one.outcome === "go" ? `leads to ${data.states[one.target].name}` : ({ stay: "stays", ignore: "is ignored", forbid: "is forbidden" })[one.outcome];
      const verdict = row === null ? "is not asked" : one === row ? "is true: it is taken" : "is false";
      lines.push(element("p", {}, element("span", { class: "mono" }, one.guard), ` ${verdict}${one === row ? "" : `; if it were true, the event ${goal}`}`));
    });
    at("preview").replaceChildren(...lines);
  }

  function showSteps(frames, number) {
    const from = Math.max(0, Math.min(number - 20, frames.length - 41));
    const near = frames.slice(from, from + 41);
    at("steps").replaceChildren(...near.map((frame, index) => {
      const text = frame.did ? `${from + index}. ${frame.did.label} ${MARKS[frame.did.outcome]} ${data.states[frame.state].name}` : `0. begins in ${data.states[frame.state].name}`;
      const button = element("button", { type: "button", ...(from + index === number ? { "aria-current": "step" } : {}) }, text);
      button.addEventListener("click", () => act.go(from + index));
      return element("li", {}, button);
    }));
    if (!scrolling) requestAnimationFrame(scrollSteps);
    scrolling = true;
    at("slider").max = frames.length - 1;
    at("slider").value = number;
    at("count").textContent = `${number} of ${frames.length - 1}`;
    for (const [id, off] of [["first", number === 0], ["back", number === 0], ["forward", number === frames.length - 1], ["last", number === frames.length - 1]]) {
      at(id).setAttribute("aria-disabled", String(off));
    }
  }

  function scrollSteps() {
    const current = at("steps").querySelector("[aria-current]");
    if (current) at("steps").scrollTop = current.offsetTop - at("steps").offsetTop - 60;
    scrolling = false;
  }

  function showRows(state, taken, focus) {
    picture.mark(state);
    if (shownState !== state) {
      shownState = state;
      at("rows-state").textContent = data.states[state].name;
      at("rows").replaceChildren(...data.rows.map((row, index) => [row, index]).filter(([row]) => row.state === state).map(rowCard));
    }
    at("rows").querySelectorAll("li").forEach((line) => {
      const own = Number(line.dataset.row) === taken;
      line.classList.toggle("taken", own);
      line.querySelector(".flag").textContent = own ? "✓ taken in the last step. " : "";
    });
    if (focus !== undefined) at("rows").querySelector(focus === null ? "li" : `li[data-row="${focus}"]`).focus();
  }

  function rowCard([row, index]) {
    const goal = row.outcome === "go" ? `→ ${data.states[row.target].name}` : `${MARKS[row.outcome]} ${WORDS[row.outcome]}`;
    const more = [row.reduce ? `then ${row.reduce}` : "", row.effects.length ? `effects: ${row.effects.join(", ")}` : ""].filter(Boolean).join("; ");
    return element("li", { "data-row": index, tabindex: "-1" },
      element("p", { class: "mono" }, `${data.events[row.event]} ${goal}`),
      ...(row.guard ? [element("p", {}, `when ${row.guard}`)] : []),
      element("p", {}, element("b", { class: "flag" }), row.why),
      ...(more ? [element("p", { class: "legend" }, more)] : []));
  }

  function say(text) {
    at("said").textContent = text;
  }

  return { show, showRows, say, preview, picture, buttons };
}
