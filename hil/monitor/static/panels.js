// The charts' data and the panels of text, from what the server sends.

import { SERIES } from "./colours.js";
import { Chart, join, scaled, scaleOf } from "./charts.js";
import { bytes, count, duration, percent, quantity } from "./format.js";

const at = (id) => document.getElementById(id);
const line = (label, k, more = {}) => ({ label, colour: `--${SERIES[k % SERIES.length]}`, ...more });
const MOST_CYCLES = 6;

export function makeCharts() {
  return {
    device: new Chart(at("device-chart"), { empty: "Choose a device on the map; its readings come here." }),
    rate: new Chart(at("rate-chart"), { empty: "Counting…", height: 130, legend: false }),
    curve: new Chart(at("curve-chart")),
    learning: new Chart(at("learning-chart")),
    iv: new Chart(at("iv-chart")),
    counts: new Chart(at("counts-chart"), { height: 190 }),
  };
}

export function showDevice(chart, cell, target) {
  at("device-title").textContent = `Device: row ${cell.row}, col ${cell.col}`;
  chart.say("The run holds no readings of this device by itself.");
  const known = Number.isFinite(target);
  const [factor, unit] = scaleOf([cell.g, known ? [target] : []], "S");
  const data = [cell.pulses, scaled(cell.g, factor)];
  const series = [line("conductance", 0, { points: cell.g.length < 120 ? 4 : 0 })];
  if (known) {
    data.push(cell.pulses.map(() => target / factor));
    series.push(line("target", 1, { dash: [6, 4] }));
  }
  chart.draw(data, series, { label: "pulses on this device", name: "pulses", whole: true }, { label: `conductance in ${unit}`, unit });
  at("device-note").textContent = cell.stride > 1 ? `Every ${cell.stride}th reading is kept here; the run holds all.` : "";
}

export function showRate(chart, { rate, status }) {
  at("rate").hidden = status !== "running" || rate.x.length < 2;
  if (at("rate").hidden) return;
  chart.draw([rate.x, rate.y], [line("rows/s", 2, { width: 1.5, fill: "band" })], { label: "seconds ago", name: "s", backwards: true }, { label: "rows/s", range: (u, low, high) => [0, Math.max(high * 1.1, 10)] });
}

/** Mean and spread over all devices, and the cycles of the device that is chosen. */
export function showCurve(chart, view, array, cell) {
  const found = view?.arrays.find((a) => a.array === array);
  at("curve").hidden = !found;
  if (!found) return;
  const [factor, unit] = scaleOf([found.high], "S");
  const tables = [[found.x, scaled(found.high, factor), scaled(found.low, factor), scaled(found.mean, factor)]];
  const series = [
    line("mean + sd", 0, { width: 0, band: true }), line("mean − sd", 0, { width: 0, band: true }),
    line("all devices, mean", 0, { width: 2.5 }),
  ];
  if (cell?.array === array) {
    const cycles = [...new Set(cell.cycle)].slice(-MOST_CYCLES);
    for (const [k, number] of cycles.entries()) {
      const mine = [...cell.cycle.keys()].filter((i) => cell.cycle[i] === number);
      tables.push([mine.map((i) => cell.in_cycle[i]), scaled(mine.map((i) => cell.g[i]), factor)]);
      series.push(line(`device, cycle ${number + 1}`, k + 1, { width: 1.2 }));
    }
  }
  chart.draw(join(tables), series, { label: "pulses since the cycle began", name: "pulses", whole: true }, { label: `conductance in ${unit}`, unit }, [[1, 2]]);
  at("curve-note").textContent = "Band: ± one standard deviation over devices and cycles. Lines: the device chosen on the map" + (cell ? `, row ${cell.row}, col ${cell.col}.` : ".");
}

export function showLearning(chart, { methods }) {
  at("learning").hidden = !methods.length;
  if (!methods.length) return;
  const longest = Math.max(...methods.map((m) => Math.max(m.epoch.length, m.float?.length ?? 0)));
  const x = Array.from({ length: longest }, (_, k) => k + 1);
  const fill = (list) => x.map((_, k) => list[k] ?? null);
  const data = [x], series = [];
  for (const [k, m] of methods.entries()) {
    const name = m.method ? `${m.method} ` : "";
    data.push(fill(m.test_accuracy), fill(m.train_accuracy));
    series.push(line(`${name}test`, k, { width: 2.2, points: longest < 60 ? 6 : 0 }), line(`${name}training`, k, { width: 1, dash: [2, 3] }));
    if (m.float) {
      data.push(fill(m.float));
      series.push(line(`${name}floating point`, k + 1, { dash: [8, 4], width: 1.6 }));
    }
  }
  chart.draw(data, series, { label: "epoch", name: "epoch", whole: true }, { label: "accuracy", percent: true });
  const notes = methods.map((m) => {
    const tests = m.test_accuracy.filter((v) => v !== null);
    const parts = tests.length ? [`test ${percent(tests.at(-1))}`, `best ${percent(Math.max(...tests))}`] : [];
    parts.push(m.float ? `floating point ${percent(m.float.at(-1))}` : "the floating-point reference comes with the end of the training");
    return `${m.method ? `${m.method}: ` : ""}${parts.join(", ")}.`;
  });
  at("learning-note").textContent = notes.join(" ");
}

/** Each branch of a sweep is a line of its own, because a chart's x only rises. */
export function showIv(chart, { curves, more }, log) {
  at("iv").hidden = !curves.length;
  if (!curves.length) return;
  const [factor, unit] = scaleOf(curves.map((c) => c.i), "A");
  const tables = [], series = [];
  for (const [k, curve] of curves.entries()) {
    let begin = 0, up = curve.v[1] >= curve.v[0];
    for (let i = 1; i <= curve.v.length; i++) {
      const turns = i === curve.v.length || (i > begin + 1 || begin === 0 ? curve.v[i] !== curve.v[i - 1] && curve.v[i] > curve.v[i - 1] !== up : false);
      if (!turns) continue;
      const part = [...Array(i - begin).keys()].map((j) => begin + j);
      if (!up) part.reverse();
      tables.push([part.map((j) => curve.v[j]), part.map((j) => (curve.i[j] === null ? null : (log ? Math.abs(curve.i[j]) : curve.i[j]) / factor))]);
      const where = curve.cell ? `(${curve.cell.join(", ")})` : `device ${k + 1}`;
      series.push(line(`${where} ${up ? "up" : "down"}`, k, up ? { width: 1.6 } : { width: 1.6, dash: [5, 3] }));
      begin = i - 1;
      up = !up;
    }
  }
  const data = join(tables);
  if (log) for (const list of data.slice(1)) list.forEach((v, k) => { if (v !== null && v !== undefined && v <= 0) list[k] = null; });
  chart.draw(data, series, { label: "voltage in V", unit: "V", name: "voltage" }, { label: `${log ? "|current|" : "current"} in ${unit}`, unit, log });
  at("iv-note").textContent = more ? `${more} more devices are in the run.` : "";
}

export function showCounts(chart, view, array) {
  const found = view?.arrays.find((a) => a.array === array);
  at("counts").hidden = !found || !found.total;
  if (!found || !found.total) return;
  // One more edge, so that the last step has its width.
  const x = [...found.x, found.x.at(-1) + found.width];
  const data = [x, [...found.up, found.up.at(-1)], [...found.down, found.down.at(-1)]];
  chart.draw(data, [line("potentiation", 0, { steps: true, fill: "band" }), line("depression", 1, { steps: true })],
    { label: "pulses per device", name: "pulses", whole: true }, { label: "devices", range: (u, low, high) => [0, high * 1.08] });
  at("counts-note").textContent = `${count(found.total)} pulses in all, median ${count(found.median)} per device, at most ${count(found.most)} on one.`;
}

export function showEvents(view, onlyLoud) {
  const list = (onlyLoud ? view.loud : view.events).slice().reverse();
  const items = list.map((e) => {
    const item = document.createElement("li"), time = document.createElement("time");
    item.className = e.level;
    const when = e.utc ? new Date(e.utc) : null;
    const readable = when && !Number.isNaN(when.valueOf());
    time.textContent = readable ? when.toLocaleTimeString([], { hour12: false }) : "–";
    if (readable) time.dateTime = when.toISOString();
    item.append(time, part("kind", e.kind), part("text", e.text));
    return item;
  });
  for (const problem of view.problems) {
    const item = document.createElement("li");
    item.className = "fault";
    item.append(part("time", ""), part("kind", "damaged"), part("text", problem));
    items.unshift(item);
  }
  if (!items.length) items.push(Object.assign(document.createElement("li"), { textContent: "None.", className: "none" }));
  at("events").replaceChildren(...items);
}

function part(name, text) {
  return Object.assign(document.createElement("span"), { className: name, textContent: text });
}

const SERIOUS = new Set(["OVERFLOW", "UNPARSABLE", "TIMEOUT", "COUNT_UNKNOWN", "INTERLOCK", "SUSPECT_LINK", "VERIFY_FAILED"]);

export function showHealth({ statuses, disk }) {
  const seen = Object.entries(statuses).filter(([, n]) => n > 0);
  facts(at("statuses"), seen.length ? seen.map(([name, n]) => [name.toLowerCase().replaceAll("_", " "), count(n), SERIOUS.has(name) && "bad"]) : [["all", "no trouble noted"]]);
  const low = disk.free !== null && disk.free < 1e9;
  at("free").textContent = bytes(disk.free);
  if (disk.total) at("disk").value = 1 - disk.free / disk.total;
  const rows = [["free", bytes(disk.free), low && "bad"], ["this run", bytes(disk.run)]];
  if (disk.per_s > 0) {
    rows.push(["growing", `${bytes(disk.per_s)}/s`]);
    if (disk.free) rows.push(["full in", duration(disk.free / disk.per_s)]);
  }
  facts(at("disk-facts"), rows);
}

function facts(list, rows) {
  list.replaceChildren(...rows.flatMap(([name, text, mark]) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = text;
    if (mark) dd.className = mark;
    return [dt, dd];
  }));
}

export function showRun(run) {
  at("name").textContent = run.name ?? run.folder;
  const made = run.bench ?? (run.simulated ? `${run.backend}, simulated` : run.backend);
  const where = [run.station && `station ${run.station}`, made, run.array && `array ${run.array}`, run.sample && `sample ${run.sample}`, run.operator && `operator ${run.operator}`, run.folder];
  at("where").textContent = where.filter(Boolean).join(" · ");
  at("where").title = at("where").textContent;
  const table = at("instruments"), rows = run.instruments.map((i) => [i.name, i.driver, i.resource]);
  if (!rows.length) rows.push([run.simulated ? "none: the devices are simulated" : "none named in the run", "", ""]);
  else rows.unshift(null);
  table.replaceChildren(...rows.map((row) => {
    const tr = document.createElement("tr");
    for (const text of row ?? ["name", "driver", "address"]) {
      tr.append(Object.assign(document.createElement(row ? "td" : "th"), { textContent: text ?? "" }));
    }
    return tr;
  }));
  const began = run.started ? new Date(run.started).toLocaleString([], { hour12: false }) : "";
  at("about").textContent = [began && `began ${began}`, run.identity, `id ${run.id}`, run.software && `synapse-hil ${run.software}`].filter(Boolean).join(" · ");
}

export function showProgress(view) {
  const { ops, status } = view;
  const pill = at("status");
  pill.dataset.state = status;
  pill.textContent = { crashed: "crashed: nobody records", running: view.behind ? "running, reading up" : "running" }[status] ?? (view.behind ? `${status}, reading` : status);
  at("pulses").textContent = count(ops.n_pulses ?? 0);
  at("readings").textContent = count(ops.n_readings ?? 0);
  at("left").textContent = status === "running" ? (view.left_s === null ? "–" : duration(view.left_s)) : "–";
  const bar = at("done");
  bar.hidden = view.done === null;
  if (view.done !== null) bar.value = view.done;
  at("what").textContent = view.done === null || status !== "running" ? "" : [percent(view.done, view.done < 0.1 ? 1 : 0), view.what].filter(Boolean).join(" · ");
}

/** Return the newest fault or alarm as a line, "" where there is none. */
export function alarmOf(run, events) {
  const loud = events?.loud.filter((e) => e.level !== "limit").at(-1);
  if (run?.error) return `The run failed: ${run.error}`;
  return loud ? `${loud.kind}: ${loud.text}` : "";
}

export { duration, percent, quantity };
