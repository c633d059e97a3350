"use strict";

// The machine as data, and how to walk it. Nothing in here knows the page.
// A frame is one moment: where the machine is, the open tickets, and what led there.

// Whether an outcome leaves everything as it is, and says why.
function refuses(outcome) {
  return outcome === "forbid" || outcome === "outside" || outcome === "gap";
}

function walkerOf(data) {
  const compiled = data.mode === "compiled";
  const inputs = new Map(data.inputs.map((input, index) => [input.label, index]));
  const rowNames = new Map(data.rows.map((row, index) => [row.name, index]));
  const cells = new Map();
  data.rows.forEach((row, index) => {
    const key = `${row.state} ${row.event}`;
    if (!cells.has(key)) cells.set(key, []);
    cells.get(key).push(index);
  });

  function begin(beginning) {
    const first = data.beginnings[beginning];
    const state = compiled ? data.nodes[first.node][0] : data.initial;
    return {
      beginning, state, node: first.node, version: first.version,
      tickets: [], issued: 0, choices: {}, context: null, did: null,
    };
  }

  function cell(state, event) {
    return cells.get(`${state} ${event}`) || [];
  }

  // What is known at a frame, as pairs of name and value. A log brings its own.
  function context(frame) {
    if (frame.context) return frame.context;
    if (!compiled) return factsAt(frame).map((fact) => [data.facts[fact].name, valueOf(frame, fact)]);
    const values = data.contexts[data.nodes[frame.node][1]];
    return data.fields.map((name, index) => [name, values[index]]);
  }

  // Facts that are free to choose.

  function factsAt(frame) {
    const found = new Set();
    data.rows.forEach((row) => {
      if (row.state === frame.state) row.facts.forEach((fact) => found.add(fact));
    });
    return [...found].sort((a, b) => a - b);
  }

  function domain(state, fact) {
    return data.facts[fact].within[state] || data.facts[fact].values.map((_, index) => index);
  }

  function chosen(frame, fact) {
    const accepted = domain(frame.state, fact);
    return accepted.includes(frame.choices[fact]) ? frame.choices[fact] : accepted[0];
  }

  function valueOf(frame, fact) {
    return data.facts[fact].values[chosen(frame, fact)];
  }

  function choose(frame, fact, value) {
    return { ...frame, choices: { ...frame.choices, [fact]: value } };
  }

  function guardHolds(frame, row) {
    if (row.true === null) return true;
    const values = row.facts.map((fact) => chosen(frame, fact));
    return row.true.some((wanted) => wanted.every((value, index) => value === values[index]));
  }

  function decideFree(frame, input) {
    const event = data.inputs[input].event;
    const enabled = cell(frame.state, event).filter((index) => guardHolds(frame, data.rows[index]));
    const asked = new Set(cell(frame.state, event).flatMap((index) => data.rows[index].facts));
    const facts = [...asked].map((fact) => `${data.facts[fact].name}=${valueOf(frame, fact)}`).join(", ");
    if (enabled.length !== 1) {
      const why = `${enabled.length ? "several rows are" : "no row is"} enabled`;
      return { input, outcome: "gap", row: null, facts, why };
    }
    const row = data.rows[enabled[0]];
    const to = row.target === null ? frame.state : row.target;
    const effects = { told: row.outcome === "forbid" ? [] : row.effects, issues: null };
    return { input, outcome: row.outcome, row: enabled[0], facts, why: row.why, to, node: null, effects, grown: 0 };
  }

  // What an input would do at a frame; nothing changes.
  function decide(frame, input) {
    if (!compiled) return decideFree(frame, input);
    if (frame.node === null) {
      return { input, outcome: "outside", row: null, facts: "", why: "this page does not reach this moment of the log" };
    }
    const [, , known, moves] = data.nodes[frame.node];
    const found = data.cells[known][input];
    if (found === null) {
      return { input, outcome: "outside", row: null, facts: "", why: data.horizon || "it is not sent here" };
    }
    const row = data.rows[found[0]];
    const [node, effects, grown] = moves[input] || [frame.node, null, 0];
    return {
      input, outcome: row.outcome, row: found[0], facts: data.facts[found[1]], why: row.why, node, grown,
      to: data.nodes[node][0], effects: effects === null ? { told: [], issues: null } : data.effects[effects],
    };
  }

  function effectsTold(effects, version) {
    return effects.told.map((text) => text.replace(/\{\+(\d+)\}/, (_, more) => version + Number(more)));
  }

  // The frame after an input; null if it is not accepted. A ticket says which of several ends.
  function take(frame, input, ticket) {
    const found = decide(frame, input);
    if (refuses(found.outcome)) return null;
    const version = frame.version === null ? null : frame.version + found.grown;
    let { tickets, issued } = frame;
    if (found.effects.issues !== null) {
      issued += 1;
      tickets = [...tickets, { number: issued, strategy: found.effects.issues, version }];
    }
    const ends = data.inputs[input].ends;
    let ended = null;
    if (ends !== null) {
      const open = tickets.filter((one) => one.strategy === ends);
      ended = open.find((one) => one.number === ticket) || open[0] || null;
      tickets = tickets.filter((one) => one !== ended);
    }
    const which = ended && ended !== (frame.tickets.find((one) => one.strategy === ends) || null) ? ended.number : null;
    return {
      ...frame, state: found.to, node: found.node, version, tickets, issued, context: null,
      did: {
        label: data.inputs[input].label, ticket: which, from: frame.state, row: found.row, facts: found.facts,
        outcome: found.outcome, why: found.why, effects: effectsTold(found.effects, frame.version),
        choices: frame.choices, note: "",
      },
    };
  }

  // Take events by their labels: the frames, and what went wrong with the first that was not accepted.
  function walk(frame, labels) {
    const frames = [frame];
    for (const said of labels) {
      const { label, ticket, choices } = typeof said === "string" ? { label: said } : said;
      let now = frames[frames.length - 1];
      if (choices) now = { ...now, choices };
      const input = inputOf(label);
      if (input === undefined) {
        return { frames, error: `${label} is no event of this page; for example: ${data.inputs.slice(0, 3).map((one) => one.label).join("; ")}` };
      }
      now = chosenBy(now, input, label);
      const after = take(now, input, ticket);
      if (after === null) {
        const { outcome, why } = decide(now, input);
        return { frames, error: `${label} is ${outcome === "forbid" ? "forbidden" : "not taken"} in ${data.states[now.state].name}: ${why}` };
      }
      frames.push(after);
    }
    return { frames, error: "" };
  }

  // Where facts are free to choose, an event may say them: `warmed(True)`.
  function inputOf(label) {
    return inputs.get(label) === undefined && !compiled ? inputs.get(label.replace(/\(.*\)$/, "")) : inputs.get(label);
  }

  function chosenBy(frame, input, label) {
    const said = /\((.*)\)$/.exec(label);
    if (compiled || said === null) return frame;
    const choices = { ...frame.choices };
    said[1].split(", ").forEach((value, index) => {
      const fact = data.inputs[input].fields[index];
      const found = fact === null || fact === undefined ? -1 : data.facts[fact].values.indexOf(value);
      if (found >= 0) choices[fact] = found;
    });
    return { ...frame, choices };
  }

  // What a link has of a walk.
  function labelsOf(frames) {
    return frames.slice(1).map((frame) => {
      const { label, ticket, choices } = frame.did;
      if (compiled) return ticket === null ? label : { label, ticket };
      return { label, choices };
    });
  }

  // The situation of the table that a log speaks of; null if the page does not reach it.
  const known = new Map();
  function nodeOf(beginning, state, values) {
    if (!known.has(beginning)) {
      const first = data.beginnings[beginning].node;
      const next = data.beginnings[beginning + 1];
      const found = new Map();
      for (let node = first; node < (next ? next.node : data.nodes.length); node += 1) {
        found.set(JSON.stringify([data.nodes[node][0], data.contexts[data.nodes[node][1]]]), node);
      }
      known.set(beginning, found);
    }
    const key = JSON.stringify([state, data.fields.map((name) => values[name])]);
    const node = known.get(beginning).get(key);
    return node === undefined ? null : node;
  }

  return { begin, cell, context, factsAt, domain, chosen, choose, decide, take, walk, labelsOf, nodeOf, inputs, rowNames, compiled };
}
