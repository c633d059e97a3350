"use strict";

// What can be played: an audit log as a journal writes it, or a counterexample as `verify` prints it.

const BEYOND = "Beyond what this page has: shown as the log has it.";
const DIFFERS = "The table of this page does something else here.";

// Returns a list of {title, labels} or {title, opened, records}; throws an Error that says what is accepted.
function playable(text, data) {
  const trimmed = text.trim();
  if (trimmed === "") throw new Error("there is nothing in it");
  if (/^\{"(journal|scope)":/.test(trimmed)) return logsIn(trimmed);
  if (trimmed.startsWith("{")) return counterexamplesIn(trimmed, data);
  return [listIn(trimmed)];
}

function counterexamplesIn(text, data) {
  let report;
  try {
    report = JSON.parse(text);
  } catch (error) {
    throw new Error(`it is no JSON: ${error.message}`);
  }
  if (!Array.isArray(report.violations)) throw new Error('it has no "violations"; accepted: what verify --json prints');
  const ours = report.violations.filter((one) => one.table === data.name);
  if (ours.length === 0) throw new Error(`no violation in it is about ${data.name}`);
  return ours.map((one) => ({ title: one.property, labels: one.events || listIn(one.counterexample).labels }));
}

// Numbered lines are events; without numbers every line is one.
function listIn(text) {
  const lines = text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== "");
  const numbered = lines.filter((line) => /^\d+\. /.test(line));
  const title = numbered.length && !/^\d+\. /.test(lines[0]) ? lines[0] : "a list of events";
  return { title, labels: (numbered.length ? numbered : lines).map((line) => line.replace(/^\d+\. +/, "")) };
}

function logsIn(text) {
  const logs = [];
  let managers = new Map();
  text.split(/\r?\n/).forEach((line, index) => {
    if (line.trim() === "") return;
    let said;
    try {
      said = JSON.parse(line);
    } catch (error) {
      throw new Error(`line ${index + 1} is no JSON: ${error.message}`);
    }
    if (said.journal === "begun") {
      managers = new Map();
    } else if (said.journal === "opened") {
      const log = { title: `${said.scope}, manager ${said.manager}`, opened: said, records: [] };
      managers.set(said.manager, log);
      logs.push(log);
    } else if (said.step) {
      const log = managers.get(said.manager);
      if (!log) throw new Error(`line ${index + 1}: manager ${said.manager} was not opened before it`);
      log.records.push(said);
    }
  });
  const played = logs.filter((log) => log.records.length > 0);
  if (played.length === 0) throw new Error("no step is in it");
  return played.map((log) => ({ ...log, title: `${log.title}: ${log.records.length} steps` }));
}

// The frames of a log. Each is what the log says; where the page's table says something else, it is noted.
function framesOfLog(log, walker, data) {
  const states = new Map(data.states.map((state, index) => [state.name, index]));
  const beginning = beginningFor(log.opened.settings, data);
  const first = log.opened.at;
  if (!states.has(first.state)) throw new Error(`the log is in ${first.state}, which is no state of ${data.name}`);
  const tickets = [];
  for (const strategy of ["blue", "green"]) {
    for (let count = 0; count < first[`open_${strategy}`]; count += 1) tickets.push({ number: null, strategy, version: null });
  }
  let before = log.opened.sequence;
  const frames = [situated({ did: null, tickets, issued: 0, choices: {} }, first, log.opened.version)];
  for (const record of log.records) {
    const now = frames[frames.length - 1];
    const { step, version } = record;
    const label = labelOf(record);
    const row = walker.rowNames.get(step.row);
    const frame = situated({ ...now, tickets: ticketsAfter(now.tickets, record) }, step.after, version.after);
    const found = row === undefined ? null : data.rows[row];
    frame.did = {
      label, ticket: null, from: now.state, row: row === undefined ? null : row, facts: "",
      outcome: found === null ? "outside" : found.outcome, why: found === null ? "the table of this page has no such row" : found.why,
      effects: step.effects, choices: {}, note: noteOf(now, frame, row, label, record.sequence - before - 1),
    };
    before = record.sequence;
    frames.push(frame);
  }
  return frames;

  function situated(frame, written, version) {
    const at = { rolled_back: false, ...written }; // a log leaves it out if there was none
    const state = states.get(at.state);
    const node = beginning === null ? null : walker.nodeOf(beginning, state, at);
    const context = data.fields.map((name) => [name, at[name]]);
    return { ...frame, beginning: beginning || 0, state, node, version, context };
  }

  function noteOf(now, after, row, label, missing) {
    if (missing > 0) return `${missing} steps before this one are not in the log.`;
    const input = walker.inputs.get(label);
    const found = now.node === null || input === undefined ? null : walker.decide(now, input);
    if (found === null || (found.outcome === "outside" && found.row === null)) return BEYOND;
    const expected = walker.take(now, input);
    const same = expected !== null && expected.node === after.node && expected.did.row === row;
    return same && expected.version === after.version ? "The table says the same." : DIFFERS;
  }
}

function labelOf(record) {
  const { event } = record.step;
  const strategy = event.strategy || (/^query_(completed|cancelled|failed)$/.test(event.name) && record.ticket ? record.ticket.strategy : null);
  const stale = record.version.event !== null && record.version.event !== record.version.before;
  const about = [
    ...(strategy ? [strategy] : []), ...(event.alone ? [`alone on ${event.alone}`] : []),
    ...(event.served_since ? ["others served"] : []),
  ].join(", ");
  return event.name + (about ? `(${about})` : "") + (stale ? ", stale" : "");
}

function ticketsAfter(tickets, record) {
  const { ticket } = record;
  if (ticket === null) return tickets;
  if (record.step.effects.includes("IssueTicket")) {
    return [...tickets, { number: ticket.query, strategy: ticket.strategy, version: ticket.version }];
  }
  const ended = tickets.find((one) => one.number === ticket.query) || tickets.find((one) => one.number === null && one.strategy === ticket.strategy);
  return tickets.filter((one) => one !== ended);
}

// The beginning with the settings of a log: those that tell the beginnings apart have to be the same.
function beginningFor(settings, data) {
  const known = data.beginnings.map((one) => one.fixed.settings || {});
  const telling = Object.keys(settings).filter((name) => new Set(known.map((one) => JSON.stringify(one[name]))).size > 1);
  const found = known.findIndex((one) => telling.every((name) => one[name] === settings[name]));
  return found < 0 ? null : found;
}
