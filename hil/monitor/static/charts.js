// Line charts with uPlot: one look, both themes, and a cursor that the arrow keys move.

import { onTheme, theme } from "./colours.js";
import { prefixOf, significant } from "./format.js";

/* global uPlot */

const WHOLE = [1, 2, 5].flatMap((n) => [...Array(10).keys()].map((k) => n * 10 ** k)).sort((a, b) => a - b);

export class Chart {
  /** `height` in pixels; `empty` is said while there is nothing to draw. */
  constructor(box, { height = 230, empty = "Nothing yet.", legend = true } = {}) {
    Object.assign(this, { box, height, legend });
    this.note = document.createElement("p");
    this.note.className = "empty";
    this.note.textContent = empty;
    box.append(this.note);
    this.plot = this.shape = this.last = null;
    new ResizeObserver(() => this.resize()).observe(box);
    onTheme(() => { this.shape = null; if (this.last) this.draw(...this.last); });
    box.tabIndex = 0;
    box.addEventListener("keydown", (e) => this.pressed(e));
  }

  /**
   * Draw `data` (uPlot's columns). `series` are {label, colour, dash, width, points, fill, paths,
   * hidden} without the x one; `x` and `y` {label, unit, log, percent, range}; `bands` as uPlot's.
   */
  draw(data, series, x, y, bands = []) {
    this.last = [data, series, x, y, bands];
    this.note.hidden = data[0].length > 0;
    if (!data[0].length) {
      this.plot?.root.remove();
      this.plot = this.shape = null;
      return;
    }
    const shape = JSON.stringify([series, x, y, bands]);
    if (this.plot && shape === this.shape) {
      this.plot.setData(data);
      return;
    }
    this.shape = shape;
    this.plot?.destroy();
    this.plot = new uPlot(this.options(series, x, y, bands), data, this.box);
    this.box.setAttribute("role", "group");
  }

  /** Say something else while there is nothing to draw. */
  say(text) {
    this.note.textContent = text;
  }

  clear() {
    if (this.last) this.draw([[]], ...this.last.slice(1));
  }

  options(series, x, y, bands) {
    const grid = { stroke: theme("grid"), width: 1 };
    const axis = (what) => ({
      stroke: theme("muted"), grid, ticks: { ...grid, size: 4 }, font: "11px system-ui, sans-serif",
      label: what.label, labelFont: "12px system-ui, sans-serif", labelSize: 18, labelGap: 2,
    });
    const value = (what) => (u, v) => {
      if (v === null || v === undefined) return "–";
      return what.percent ? `${(100 * v).toFixed(2)} %` : `${significant(v, 4)}${what.unit ? ` ${what.unit}` : ""}`;
    };
    return {
      width: Math.max(this.box.clientWidth, 120), height: this.height, padding: [10, 12, 0, 0],
      cursor: { points: { size: 6 }, drag: { x: true, y: false } },
      legend: { show: this.legend, live: true, markers: { width: 2 } },
      scales: { x: { time: false }, y: { distr: y.log ? 3 : 1, range: y.range } },
      axes: [
        { ...axis(x), size: 30, space: 55, incrs: x.whole ? WHOLE : undefined, values: (u, ticks) => ticks.map((t) => short(x.backwards ? -t : t)) },
        { ...axis(y), size: 52, space: 32, values: (u, ticks) => ticks.map((t) => (t === null ? "" : y.percent ? `${+(100 * t).toFixed(2)} %` : short(t))) },
      ],
      series: [
        { label: x.name ?? x.label, value: value(x) },
        ...series.map((s) => ({
          label: s.label, class: s.band ? "band" : undefined, stroke: s.colour.startsWith("--") ? theme(s.colour.slice(2)) : s.colour,
          width: s.width ?? 1.5, dash: s.dash, spanGaps: true, value: value(y),
          fill: s.fill && theme(s.fill), paths: s.steps ? uPlot.paths.stepped({ align: 1 }) : undefined,
          points: { show: Boolean(s.points), size: s.points || 4 },
        })),
      ],
      bands: bands.map(([upper, lower]) => ({ series: [upper, lower], fill: theme("band") })),
    };
  }

  resize() {
    const width = this.box.clientWidth;
    if (this.plot && width > 50) this.plot.setSize({ width, height: this.height });
  }

  pressed(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || !this.plot || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const x = this.plot.data[0];
    const from = this.plot.cursor.idx ?? (by > 0 ? -1 : x.length);
    const to = Math.max(0, Math.min(from + by * (event.shiftKey ? 10 : 1), x.length - 1));
    this.plot.setCursor({ left: this.plot.valToPos(x[to], "x"), top: this.plot.bbox.height / 3 / devicePixelRatio });
  }
}

/** Return a tick's text: a prefix for what is large. */
function short(v) {
  const size = Math.abs(v);
  if (size >= 1e4) {
    const [factor, prefix] = prefixOf(v);
    return `${+(v / factor).toFixed(2)}${prefix}`;
  }
  return size > 0 && size < 1e-3 ? v.toExponential(0) : String(+v.toFixed(4));
}

/** Return [factor, "µS"] that suits all values. */
export function scaleOf(lists, unit) {
  let most = 0;
  for (const list of lists) for (const v of list) if (v !== null && Math.abs(v) > most) most = Math.abs(v);
  const [factor, prefix] = prefixOf(most);
  return [factor, `${prefix}${unit}`];
}

export const scaled = (list, factor) => Array.from(list, (v) => (v === null || v === undefined ? null : v / factor));

/** Join tables of columns with different x into one, as uPlot wants it. */
export const join = (tables) => (tables.length === 1 ? tables[0] : uPlot.join(tables));
