"use strict";

// The page: one walk, where in it we are, and everything that a reader can do.

const LINK_DELAY_MS = 250;

(function start() {
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("data").textContent);
  const walker = walkerOf(data);
  const act = { press, pressArrow, look, choose, go };
  const view = viewOf(data, walker, act);
  let frames = [walker.begin(0)];
  let number = 0;
  let plays = [];
  let timer = null;
  let linking = null;
  let shared = true; // whether a link can say how we came here: not after a log

  function render() {
    view.show(frames[number], frames, number);
    document.documentElement.dataset.linked = "false";
    clearTimeout(linking);
    linking = setTimeout(link, LINK_DELAY_MS);
  }

  // The address says how we came here. Browsers refuse to change it often, so it follows when the walk rests.
  function link() {
    const said = { of: data.digest, begin: frames[0].beginning, do: walker.labelsOf(frames), at: number };
    history.replaceState(null, "", shared ? `#${encodeURIComponent(JSON.stringify(said))}` : "#");
    document.documentElement.dataset.linked = "true";
  }

  function restart(beginning) {
    frames = [walker.begin(beginning)];
    number = 0;
    shared = true;
    render();
    view.say(`Begins in ${stateName(frames[0])}.`);
  }

  function stateName(frame) {
    return data.states[frame.state].name;
  }

  function spoken(frame) {
    const { did } = frame;
    if (!did) return `Begins in ${stateName(frame)}.`;
    const from = data.states[did.from].name;
    const moved = did.outcome === "go" ? `${from} to ${stateName(frame)}` : `${from}, ${WORDS[did.outcome]}`;
    const effects = did.effects.length ? ` Effects: ${did.effects.join(", ")}.` : "";
    return `${did.label}: ${moved}, because ${did.why}.${effects}${did.note ? ` ${did.note}` : ""}`;
  }

  function press(input, ticket) {
    const frame = frames[number];
    const after = walker.take(frame, input, ticket);
    if (after === null) {
      const found = walker.decide(frame, input);
      view.say(`${data.inputs[input].label} is ${WORDS[found.outcome]} in ${stateName(frame)}: ${found.why}.`);
      return;
    }
    stop();
    frames = [...frames.slice(0, number + 1), after];
    number += 1;
    render();
    view.say(spoken(after));
  }

  function pressArrow(arrow, event) {
    const able = data.inputs.map((_, input) => walker.decide(frames[number], input)).filter((found) =>
      found.row !== null && data.inputs[found.input].event === event && found.outcome === "go" &&
      frames[number].state === arrow.source && found.to === arrow.target);
    if (able.length === 1) press(able[0].input);
    else reachEvent(event, able.length ? able[0].input : null);
  }

  function reachEvent(event, input) {
    const first = input === null ? data.inputs.findIndex((one) => one.event === event) : input;
    view.buttons[first].focus();
    if (input === null) view.say(`${data.events[event]} does not lead there from ${stateName(frames[number])}.`);
  }

  function look(state) {
    const { did } = frames[number];
    view.showRows(state, did ? did.row : null);
    view.say(`Rows of ${data.states[state].name} are shown.`);
  }

  function choose(fact, value) {
    frames = [...frames.slice(0, number), walker.choose(frames[number], fact, value)];
    render();
  }

  function go(to) {
    number = Math.max(0, Math.min(frames.length - 1, to));
    render();
    view.say(`Step ${number} of ${frames.length - 1}. ${spoken(frames[number])}`);
  }

  function stop() {
    if (timer !== null) clearInterval(timer);
    timer = null;
    at("play").setAttribute("aria-pressed", "false");
  }

  function play() {
    if (timer !== null) return stop();
    if (number === frames.length - 1) go(0);
    at("play").setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      if (number < frames.length - 1) go(number + 1);
      if (number >= frames.length - 1) stop();
    }, 1000);
  }

  // Logs and counterexamples.

  function read(text) {
    try {
      plays = playable(text, data);
      if (!walker.compiled && plays.some((one) => one.records)) throw new Error("this page was made without contexts, so it plays no log");
    } catch (error) {
      at("loaded").textContent = `It cannot be played: ${error.message}.`;
      return;
    }
    at("which").replaceChildren(...plays.map((one, index) => element("option", { value: index }, one.title)));
    at("which-label").hidden = plays.length < 2;
    open(0);
  }

  function open(index) {
    const one = plays[index];
    stop();
    let error = "";
    try {
      if (one.records) {
        frames = framesOfLog(one, walker, data);
        shared = false;
      } else {
        ({ frames, error } = walker.walk(walker.begin(frames[0].beginning), one.labels));
        shared = true;
      }
    } catch (failed) {
      at("loaded").textContent = `It cannot be played: ${failed.message}.`;
      return;
    }
    number = 0;
    render();
    const noted = (note) => frames.filter((frame) => frame.did && frame.did.note === note).length;
    const [differing, beyond] = [noted(DIFFERS), noted(BEYOND)];
    const odd = [differing ? `${differing} differ from the table` : "", beyond ? `${beyond} are beyond what this page has` : ""].filter(Boolean).join(", ");
    at("loaded").textContent = `${one.title}: ${frames.length - 1} steps are ready${odd ? `; ${odd}` : ""}. ${error ? `It ends there: ${error}.` : "Forward, or Play, goes through them."}`;
  }

  function fromLink() {
    if (location.hash.length < 2) return false;
    let said;
    try {
      said = JSON.parse(decodeURIComponent(location.hash.slice(1)));
    } catch {
      return false; // a link to a part of the page
    }
    const beginning = data.beginnings[said.begin] ? said.begin : 0;
    const walked = walker.walk(walker.begin(beginning), Array.isArray(said.do) ? said.do : []);
    frames = walked.frames;
    number = Math.max(0, Math.min(frames.length - 1, Number(said.at) || 0));
    shared = true;
    render();
    const other = said.of === data.digest ? "" : "The link was made for another version of this table. ";
    view.say(`${other}${walked.error ? `The link goes on, but not here: ${walked.error}. ` : ""}${spoken(frames[number])}`);
    return true;
  }

  // Search.

  function search() {
    const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (text) => words.every((word) => text.toLowerCase().includes(word));
    const found = words.length === 0 ? [] : [
      ...data.states.map((one, index) => [`state ${one.name}`, () => { look(index); view.picture.reach(index); }]),
      ...data.events.map((one, index) => [`event ${one}`, () => reachEvent(index, data.inputs.findIndex((input) => input.event === index))]),
      ...data.rows.map((one, index) => [`row ${one.name}: ${one.why}`, () => view.showRows(one.state, frames[number].did ? frames[number].did.row : null, index)]),
    ].filter(([text]) => fits(text));
    at("found-count").textContent = words.length === 0 ? "" : `${found.length} found${found.length > 50 ? ", the first 50 are shown" : ""}`;
    at("found").replaceChildren(...found.slice(0, 50).map(([text, chosen]) => {
      const button = element("button", { type: "button" }, text);
      button.addEventListener("click", chosen);
      return element("li", {}, button);
    }));
  }

  // Keys.

  const KEYS = [
    ["b", "back one step", () => go(number - 1)],
    ["f", "forward one step", () => go(number + 1)],
    ["0", "to the first step", () => go(0)],
    ["9", "to the last step", () => go(frames.length - 1)],
    ["p", "play, or pause", play],
    ["r", "begin again", () => restart(frames[0].beginning)],
    ["e", "to the events", () => view.buttons[0].focus()],
    ["d", "to the diagram", () => view.picture.reach(frames[number].state)],
    ["t", "to the tickets", () => { const one = at("tickets").querySelector("button"); if (one) one.focus(); else view.say("No ticket is open."); }],
    ["l", "to what is loaded", () => at("paste").focus()],
    ["/", "search", () => at("search").focus()],
    ["?", "these shortcuts", () => at("help").showModal()],
  ];

  function key(event) {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.ctrlKey || event.metaKey || event.altKey || at("help").open) return;
    const place = view.buttons.indexOf(event.target);
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (place >= 0 && by && view.buttons[place + by]) {
      event.preventDefault();
      view.buttons[place + by].focus();
    } else if (!typing && at("single").checked) {
      const found = KEYS.find(([name]) => name === event.key);
      if (found) {
        event.preventDefault();
        found[2]();
      }
    }
  }

  function copy() {
    const done = () => view.say(shared ? "The link to this walk is copied." : "The link is copied; a log is not part of it.");
    const failed = () => view.say("The browser did not allow that: copy the address of the page.");
    link();
    if (navigator.clipboard) navigator.clipboard.writeText(location.href).then(done, failed);
    else failed();
  }

  const clicks = {
    first: () => go(0), back: () => go(number - 1), forward: () => go(number + 1), last: () => go(frames.length - 1),
    play, share: copy, read: () => read(at("paste").value),
    "zoom-in": view.picture.larger, "zoom-out": view.picture.smaller, "zoom-fit": view.picture.fit,
    "help-open": () => at("help").showModal(), "help-close": () => at("help").close(),
  };
  Object.entries(clicks).forEach(([id, does]) => at(id).addEventListener("click", () => does()));
  at("slider").addEventListener("input", () => go(Number(at("slider").value)));
  at("search").addEventListener("input", search);
  at("which").addEventListener("change", () => open(Number(at("which").value)));
  at("begin").addEventListener("change", () => restart(Number(at("begin").value)));
  at("theme").addEventListener("change", () => { document.documentElement.dataset.theme = at("theme").value; });
  at("file").addEventListener("change", () => { const [file] = at("file").files; if (file) file.text().then(read); });
  document.querySelector("[data-skip]").addEventListener("click", (event) => { event.preventDefault(); at("events").focus(); });
  document.addEventListener("keydown", key);
  window.addEventListener("hashchange", fromLink);
  window.addEventListener("resize", () => view.picture.center(frames[number].state));
  at("keys").replaceChildren(...KEYS.flatMap(([name, does]) => [element("dt", {}, element("kbd", {}, name)), element("dd", {}, does)]));
  data.beginnings.forEach((one, index) => at("begin").append(element("option", { value: index }, one.label)));
  at("begin-label").hidden = data.beginnings.length < 2;
  if (!fromLink()) restart(0);
  document.documentElement.dataset.ready = "true";
})();
