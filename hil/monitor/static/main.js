// The page: takes the server's events and hands them to the map, the charts and the panels.

import { HeatMap } from "./map.js";
import * as panels from "./panels.js";

const at = (id) => document.getElementById(id);
const DEVICE_EVERY_MS = 1000;

const charts = panels.makeCharts();
let run = null, progress = null, events = null, curve = null, counts = null, iv = null, device = null;
let array = null, paused = false, known = new Map(), held = new Map(), since = 0;

const map = new HeatMap(at("map"), at("readout"), at("map-empty"), at("key"), () => loadDevice());

// -- what the server sends

const TAKE = {
  run(view) {
    if (run && run.id !== view.id) forget();
    run = view;
    panels.showRun(view);
    showAlarm();
  },
  progress(view) {
    progress = view;
    since = performance.now();
    panels.showProgress(view);
    panels.showRate(charts.rate, view);
    tick();
  },
  map(view) {
    if (!known.has(view.array)) addArray(view.array);
    known.get(view.array).map = view;
    if (view.array === array) map.takeValues(view);
  },
  cells(view) {
    if (!known.has(view.array)) addArray(view.array);
    known.get(view.array).cells = view;
    if (view.array === array) takeCells(view);
  },
  curve(view) { curve = view; panels.showCurve(charts.curve, view, array, device); },
  counts(view) { counts = view; panels.showCounts(charts.counts, view, array); },
  learning(view) { panels.showLearning(charts.learning, view); },
  iv(view) { iv = view; panels.showIv(charts.iv, view, at("iv-log").checked); },
  events(view) { events = view; panels.showEvents(view, at("loud").checked); showAlarm(); },
  health(view) { panels.showHealth(view); },
};

const source = new EventSource("/events");
for (const name of Object.keys(TAKE)) {
  source.addEventListener(name, (event) => {
    const view = JSON.parse(event.data);
    if (paused) held.set(`${name}:${view.array ?? ""}`, [name, view]);
    else TAKE[name](view);
  });
}
source.onerror = () => {
  const pill = at("status");
  pill.dataset.state = "lost";
  pill.textContent = source.readyState === EventSource.CLOSED ? "connection lost: run hil monitor again" : "connection lost, trying again";
};
source.onopen = () => { if (progress) panels.showProgress(progress); };

/** Another run has taken the place of the one shown. */
function forget() {
  known = new Map();
  [events, curve, counts, iv, device, array] = [null, null, null, null, null, null];
  at("array").replaceChildren();
  at("array-choice").hidden = true;
  map.reset();
  map.draw();
  for (const chart of Object.values(charts)) chart.clear();
  for (const id of ["curve", "learning", "iv", "counts"]) at(id).hidden = true;
  at("device-title").textContent = "Device";
}

// -- arrays and devices

function addArray(name) {
  known.set(name, {});
  at("array").append(Object.assign(document.createElement("option"), { value: name, textContent: name }));
  at("array-choice").hidden = known.size < 2;
  if (array !== null) return;
  array = name;
  panels.showCurve(charts.curve, curve, array, device);
  panels.showCounts(charts.counts, counts, array);
}

function chooseArray(name) {
  array = name;
  device = null;
  map.reset();
  const views = known.get(name);
  if (views.map) map.takeValues(views.map);
  if (views.cells) takeCells(views.cells);
  panels.showCurve(charts.curve, curve, array, device);
  panels.showCounts(charts.counts, counts, array);
}

function takeCells(view) {
  map.takeCells(view);
  for (const input of document.querySelectorAll("input[name=mode]")) {
    input.disabled = !map.has(input.value);
    input.parentElement.title = input.disabled ? "This run says no targets (so far)." : "";
  }
  if (device) showDevice();
}

let loading = false;
async function loadDevice() {
  if (!map.chosen || array === null || loading || document.hidden) return;
  const [row, col] = map.chosen, asked = array;
  loading = true;
  try {
    const answer = await fetch(`/cell/${encodeURIComponent(asked)}/${row}/${col}`);
    if (answer.ok && asked === array) {
      device = await answer.json();
      showDevice();
    }
  } catch { /* the stream says that the connection is lost */ } finally {
    loading = false;
  }
  if (map.chosen && String(map.chosen) !== String([row, col])) loadDevice();
}

function showDevice() {
  const target = map.cells?.target?.[device.row * map.cols + device.col];
  panels.showDevice(charts.device, device, target);
  panels.showCurve(charts.curve, curve, array, device);
}

setInterval(() => {
  if (!paused && progress?.status === "running") loadDevice();
}, DEVICE_EVERY_MS);

// -- head

function tick() {
  if (!progress) return;
  const more = progress.status === "running" && !paused ? (performance.now() - since) / 1000 : 0;
  at("elapsed").textContent = panels.duration(progress.elapsed_s + more);
  const share = progress.done !== null && progress.status === "running" ? `${panels.percent(progress.done, 0)} ` : "";
  document.title = `${share}${run?.name ?? "hil monitor"} (${progress.status})`;
}
setInterval(tick, 1000);

function showAlarm() {
  const text = panels.alarmOf(run, events);
  at("alert").hidden = !text;
  if (at("alert").textContent !== text) at("alert").textContent = text;
}

// -- controls

function showMap() {
  const mode = document.querySelector("input[name=mode]:checked").value;
  at("log").disabled = mode === "error";
  map.show(mode, at("log").checked, at("fit").checked);
}
for (const input of document.querySelectorAll("input[name=mode], #log, #fit")) input.addEventListener("change", showMap);
at("array").addEventListener("change", (e) => chooseArray(e.target.value));
at("loud").addEventListener("change", () => events && panels.showEvents(events, at("loud").checked));
at("iv-log").addEventListener("change", () => iv && panels.showIv(charts.iv, iv, at("iv-log").checked));
at("pause").addEventListener("click", () => {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", String(paused));
  at("pause").textContent = paused ? "Go on" : "Pause";
  if (paused) return;
  for (const [name, view] of held.values()) TAKE[name](view);
  held = new Map();
});
showMap();
