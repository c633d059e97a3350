"use strict";

// The diagram: what is drawn is made alive, and follows the walk. A narrow screen has a picture of its own, in which
// arrows have numbers, and a list of what those stand for.

function picturesOf(data, canvas, key, act) {
  const wide = canvas.querySelector("svg");
  const narrow = document.getElementById("narrow").content.querySelector("svg");
  const asked = matchMedia("(max-width: 600px)");
  let now = null;
  let shown = null;
  let marked = null;

  function draw() {
    const slim = narrow !== null && asked.matches;
    canvas.replaceChildren(slim ? narrow : wide);
    key.replaceChildren(...(slim ? data.arrows.map((arrow, index) => lineOf(arrow, index)) : []).filter(Boolean));
    if (now !== null) now.forget();
    now = pictureOf(data, canvas, key, act);
    now.fit(slim ? 0 : 0.65);
    if (shown !== null) now.show(shown);
    if (marked !== null) now.mark(marked);
  }

  // What leads back to its state stands in the box of the state there, too.
  function lineOf(arrow, index) {
    if (!arrow.number) return null;
    const ends = `${data.states[arrow.source].name} \u2192 ${data.states[arrow.target].name}`;
    const events = arrow.events.map((event) => element("button", { type: "button", class: "mono" }, data.events[event]));
    const said = element("div", {}, element("p", {}, ends), ...events);
    return element("li", { id: `k${index}` }, element("b", { class: "mono" }, String(arrow.number)), said);
  }

  asked.addEventListener("change", draw);
  draw();
  return {
    show: (frame) => { shown = frame; now.show(frame); },
    mark: (state) => { marked = state; now.mark(state); },
    reach: (state) => now.reach(state),
    center: (state) => now.center(state),
    larger: () => now.larger(), smaller: () => now.smaller(), fit: () => now.fit(),
  };
}

function pictureOf(data, canvas, key, act) {
  const svg = canvas.querySelector("svg");
  const nodes = data.states.map((_, index) => svg.querySelector(`#s${index}`));
  const natural = { width: svg.viewBox.baseVal.width * (4 / 3), height: svg.viewBox.baseVal.height * (4 / 3) };
  let scale = 1;
  let pending = null;
  const alive = new AbortController();
  const { signal } = alive;
  const edges = data.arrows.map((arrow, index) => {
    // What leads back to its state stands in the box of the state, below its name.
    const loop = arrow.source === arrow.target;
    const listed = key.querySelector(`#k${index}`);
    const number = listed ? svg.querySelector(`#a${index} text`) : null;
    const lines = listed ? [...listed.querySelectorAll("button")]
      : loop ? [...nodes[arrow.source].querySelectorAll("text")].slice(1) : [...svg.querySelectorAll(`#a${index} text`)];
    lines.forEach((line, place) => {
      line.dataset.event = data.events[arrow.events[place]];
      line.addEventListener("click", (event) => {
        event.stopPropagation();
        act.pressArrow(arrow, arrow.events[place]);
      }, { signal });
    });
    if (number) number.addEventListener("click", () => listed.querySelector("button").focus(), { signal });
    const groups = ["x", "y"].map((part) => svg.querySelector(`#a${index}${part}`)).filter(Boolean);
    return { ...arrow, groups, lines, number };
  });
  nodes.forEach((node, index) => {
    node.setAttribute("role", "button");
    node.setAttribute("aria-label", `Rows of ${data.states[index].name}`);
    node.addEventListener("click", () => act.look(index), { signal });
    node.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (by) {
        event.preventDefault();
        event.stopPropagation();
        reach(nodes[(index + by + nodes.length) % nodes.length]);
      } else if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        act.look(index);
      }
    }, { signal });
  });
  size(scale);

  function size(wanted) {
    scale = Math.min(3, Math.max(0.1, wanted));
    svg.setAttribute("width", natural.width * scale);
    svg.setAttribute("height", natural.height * scale);
  }

  // Smaller than that it cannot be read: then the diagram scrolls, unless all of it is asked for.
  function fit(smallest = 0) {
    size(Math.max(smallest, Math.min(1, (canvas.clientWidth - 4) / natural.width)));
  }

  function reach(node) {
    nodes.forEach((one) => one.setAttribute("tabindex", one === node ? "0" : "-1"));
    node.focus({ preventScroll: true });
    center(node);
  }

  // The page itself stays where it is: only the diagram scrolls.
  function center(node) {
    const box = node.getBoundingClientRect();
    const around = canvas.getBoundingClientRect();
    if (box.left < around.left || box.right > around.right) canvas.scrollLeft += box.left + box.width / 2 - around.left - around.width / 2;
    if (box.top < around.top || box.bottom > around.bottom) canvas.scrollTop += box.top + box.height / 2 - around.top - around.height / 2;
  }

  function show(frame) {
    nodes.forEach((node, index) => {
      node.classList.toggle("current", index === frame.state);
      node.setAttribute("tabindex", index === frame.state ? "0" : "-1");
      if (index === frame.state) node.setAttribute("aria-current", "true");
      else node.removeAttribute("aria-current");
    });
    const row = frame.did && frame.did.row !== null ? data.rows[frame.did.row] : null;
    edges.forEach((edge) => {
      const taken = row !== null && row.target !== null && edge.source === row.state && edge.target === row.target;
      edge.groups.forEach((group) => group.classList.toggle("taken", taken));
      if (edge.number) edge.number.classList.toggle("taken", taken);
      edge.lines.forEach((line, place) => line.classList.toggle("taken", taken && edge.events[place] === row.event));
    });
    // Once a picture is drawn, however many steps were taken before it: to measure takes long.
    if (pending === null) requestAnimationFrame(() => { center(pending); pending = null; });
    pending = nodes[frame.state];
  }

  function mark(state) {
    nodes.forEach((node, index) => node.classList.toggle("shown", index === state));
  }

  return {
    show, mark, fit, reach: (state) => reach(nodes[state]), center: (state) => center(nodes[state]),
    larger: () => size(scale * 1.25), smaller: () => size(scale / 1.25), forget: () => alive.abort(),
  };
}
