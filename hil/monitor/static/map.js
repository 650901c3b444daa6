// The heat map of an array: drawn on a canvas, read with pointer or keyboard.

import { onTheme, tableOf, theme } from "./colours.js";
import { count, prefixOf, quantity, significant, unpack } from "./format.js";

const LEFT = 38, TOP = 22, BAR = 92, NARROW_BAR = 74, BOTTOM = 6;

export class HeatMap {
  /** `choose` is called with (row, col) when a device is chosen. */
  constructor(canvas, readout, empty, key, choose) {
    Object.assign(this, { canvas, readout, empty, key, choose });
    this.mode = "value";
    this.log = this.fit = false;
    this.reset();
    this.image = document.createElement("canvas");
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
    onTheme(() => { this.drawKey(); this.draw(); });
    canvas.addEventListener("pointermove", (e) => this.point(e));
    canvas.addEventListener("pointerleave", () => { this.over = null; this.tell(); this.draw(); });
    canvas.addEventListener("pointerdown", (e) => { this.point(e); if (this.over) this.pick(this.over); });
    canvas.addEventListener("keydown", (e) => this.pressed(e));
    canvas.addEventListener("focus", () => { this.focused = true; this.tell(); this.draw(); });
    canvas.addEventListener("blur", () => { this.focused = false; this.draw(); });
  }

  reset() {
    this.values = this.cells = this.over = this.chosen = this.box = null;
    this.rows = this.cols = 0;
    this.cursor = [0, 0];
    this.focused = false;
  }

  takeValues(data) {
    if (data.rows !== this.rows || data.cols !== this.cols) this.cells = null;
    this.rows = data.rows;
    this.cols = data.cols;
    this.values = unpack(data.g, Float32Array);
    this.seq = data.seq;
    if (!this.chosen && data.last) this.pick(data.last, false);
    this.draw();
  }

  takeCells(data) {
    if (data.rows !== this.rows || data.cols !== this.cols) return;
    this.cells = {
      ...data, up: unpack(data.up, Uint32Array), down: unpack(data.down, Uint32Array),
      status: unpack(data.status, Uint32Array), failed: unpack(data.failed, Uint8Array),
      dead: unpack(data.dead, Uint8Array), target: data.target && unpack(data.target, Float32Array),
      outcome: data.outcome && unpack(data.outcome, Uint8Array),
    };
    this.drawKey();
    this.draw();
  }

  /** Return whether a mode has anything to show. */
  has(mode) {
    return mode === "value" || mode === "pulses" || Boolean(this.cells?.target);
  }

  show(mode, log, fit) {
    Object.assign(this, { mode, log, fit });
    this.draw();
    this.tell();
  }

  // -- pointer and keyboard

  at(event) {
    if (!this.box) return null;
    const bounds = this.canvas.getBoundingClientRect();
    const col = Math.floor((event.clientX - bounds.left - LEFT) / this.box.w);
    const row = Math.floor((event.clientY - bounds.top - TOP) / this.box.h);
    return row >= 0 && row < this.rows && col >= 0 && col < this.cols ? [row, col] : null;
  }

  point(event) {
    const cell = this.at(event);
    if (String(cell) === String(this.over)) return;
    this.over = cell;
    if (cell) this.cursor = cell;
    this.tell();
    this.draw();
  }

  pick(cell, told = true) {
    this.chosen = cell;
    if (!told) this.cursor = cell;
    this.choose(...cell);
    this.draw();
  }

  pressed(event) {
    const far = event.shiftKey ? 8 : 1;
    let [row, col] = this.cursor;
    const moves = {
      ArrowUp: () => { row -= far; }, ArrowDown: () => { row += far; },
      ArrowLeft: () => { col -= far; }, ArrowRight: () => { col += far; },
      Home: () => { col = 0; }, End: () => { col = this.cols - 1; },
      PageUp: () => { row = 0; }, PageDown: () => { row = this.rows - 1; },
      Enter: () => this.pick(this.cursor), " ": () => this.pick(this.cursor),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !moves[event.key] || !this.rows) return;
    event.preventDefault();
    moves[event.key]();
    this.cursor = [Math.max(0, Math.min(row, this.rows - 1)), Math.max(0, Math.min(col, this.cols - 1))];
    this.over = null;
    this.tell();
    this.draw();
  }

  // -- the readout

  tell() {
    const cell = this.over ?? (this.focused ? this.cursor : null);
    if (!cell || !this.values) {
      this.readout.textContent = "Point at a device, or use the arrow keys on the map.";
      return;
    }
    const [row, col] = cell, k = row * this.cols + col, more = [];
    const g = this.values[k];
    const { cells } = this;
    if (cells) {
      if (cells.target && Number.isFinite(cells.target[k])) {
        const error = g - cells.target[k];
        more.push(`target ${quantity(cells.target[k], "S")}`);
        if (Number.isFinite(error)) {
          more.push(`error ${error > 0 ? "+" : ""}${quantity(error, "S")} (${significant((100 * error) / cells.target[k], 2)} %)`);
        }
      }
      more.push(`${count(cells.up[k])} pulses up, ${count(cells.down[k])} down`);
      if (cells.outcome) more.push(cells.outcomes[cells.outcome[k]]);
      if (cells.dead[k]) more.push("marked as dead");
      for (const [name, bit] of Object.entries(cells.bits)) {
        if (cells.status[k] & bit) more.push(name.toLowerCase().replaceAll("_", " "));
      }
    }
    const strong = document.createElement("b");
    strong.textContent = Number.isFinite(g) ? quantity(g, "S", 4) : "not read yet";
    this.readout.replaceChildren(`row ${row}, col ${col}: `, strong, more.length ? ` · ${more.join(" · ")}` : "");
  }

  // -- drawing

  /** Return what is shown: numbers, unit, and the range of the colours. */
  picture() {
    const n = this.rows * this.cols, { cells, mode } = this;
    let values = this.values, unit = "S", low = cells?.g_min, high = cells?.g_max, log = this.log;
    if (mode === "pulses" && cells) {
      values = new Float32Array(n);
      for (let k = 0; k < n; k++) values[k] = cells.up[k] + cells.down[k];
      [unit, low, high] = ["", 0, null];
    } else if (mode === "target" && cells?.target) {
      values = cells.target;
    } else if (mode === "error" && cells?.target) {
      values = new Float32Array(n);
      for (let k = 0; k < n; k++) values[k] = this.values[k] - cells.target[k];
      log = false;
    }
    let least = Infinity, most = -Infinity;
    for (const v of values) {
      if (!Number.isFinite(v) || (log && v <= 0)) continue;
      if (v < least) least = v;
      if (v > most) most = v;
    }
    if (mode === "error") {
      most = Math.max(Math.abs(least), Math.abs(most));
      [low, high] = [-most, most];
    } else if (this.fit || !(high > low)) {
      high = most;
      if (this.fit || !Number.isFinite(low ?? NaN)) low = least;
    }
    if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = [0, 1];
    if (log && low <= 0) low = Number.isFinite(least) && least > 0 ? least : high / 1000;
    if (!(high > low)) [low, high] = [low - (Math.abs(low) / 2 || 0.5), high + (Math.abs(high) / 2 || 0.5)];
    return { values, unit, low, high, log };
  }

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.paint(); });
  }

  paint() {
    const { canvas, rows, cols } = this;
    const known = Boolean(this.values) && (this.mode !== "value" || this.values.some(Number.isFinite));
    this.empty.hidden = known;
    const width = canvas.parentElement.clientWidth;
    const bar = width < 480 ? NARROW_BAR : BAR;
    const room = Math.max(width - LEFT - bar, 40);
    const tall = Math.max(220, Math.min(window.innerHeight * 0.68, 760));
    let w = room / (cols || 16), h = w;
    if (h * (rows || 12) > tall) h = tall / (rows || 12);
    w = Math.min(w, Math.max(h * 1.6, 64)); // a tall array is not stretched beyond legibility
    h = Math.min(h, 64);
    const height = Math.ceil(TOP + h * (rows || 12) + BOTTOM);
    const scale = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      canvas.style.height = `${height}px`;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    this.box = rows ? { w, h } : null;
    if (!rows || !this.values) return;
    const shown = this.picture();
    this.paintCells(pen, shown);
    this.paintMarks(pen);
    this.paintAxes(pen);
    this.paintBar(pen, shown, LEFT + w * cols + 14, h * rows);
    if (this.chosen) this.frame(pen, this.chosen, theme("ink"), 2);
    const cell = this.over ?? (this.focused ? this.cursor : null);
    if (cell) this.frame(pen, cell, theme("accent"), 2.5);
    canvas.dataset.seq = this.seq; // rows shown, for those who measure the delay
  }

  paintCells(pen, { values, low, high, log }) {
    const { rows, cols, image } = this, { w, h } = this.box;
    if (image.width !== cols || image.height !== rows) [image.width, image.height] = [cols, rows];
    const inner = image.getContext("2d");
    const pixels = inner.createImageData(cols, rows), table = tableOf(this.mode);
    const f = log ? Math.log : (x) => x;
    const begin = f(low), per = 255 / (f(high) - begin);
    for (let k = 0; k < values.length; k++) {
      if (!Number.isFinite(values[k])) continue;
      const at = 3 * Math.max(0, Math.min(255, Math.round((f(values[k]) - begin) * per) || 0));
      pixels.data.set([table[at], table[at + 1], table[at + 2], 255], 4 * k);
    }
    inner.putImageData(pixels, 0, 0);
    pen.fillStyle = hatch(pen);
    pen.fillRect(LEFT, TOP, w * cols, h * rows);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(image, LEFT, TOP, w * cols, h * rows);
    if (Math.min(w, h) >= 11) {
      pen.strokeStyle = theme("panel");
      pen.lineWidth = 1;
      pen.beginPath();
      for (let j = 1; j < cols; j++) { pen.moveTo(LEFT + j * w, TOP); pen.lineTo(LEFT + j * w, TOP + h * rows); }
      for (let i = 1; i < rows; i++) { pen.moveTo(LEFT, TOP + i * h); pen.lineTo(LEFT + w * cols, TOP + i * h); }
      pen.stroke();
    }
  }

  paintMarks(pen) {
    if (!this.cells) return;
    const { w, h } = this.box, { failed, status } = this.cells;
    for (let k = 0; k < failed.length; k++) {
      if (!failed[k] && !status[k]) continue;
      mark(pen, LEFT + (k % this.cols) * w, TOP + Math.floor(k / this.cols) * h, w, h, Boolean(failed[k]));
    }
  }

  paintAxes(pen) {
    const { w, h } = this.box;
    pen.fillStyle = theme("muted");
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    const step = (size, room) => [1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 256, 512].find((s) => s * size >= room) ?? 1024;
    pen.textAlign = "right";
    for (let i = 0, by = step(h, 15); i < this.rows; i += by) pen.fillText(i, LEFT - 6, TOP + (i + 0.5) * h);
    pen.textAlign = "center";
    for (let j = 0, by = step(w, 26); j < this.cols; j += by) pen.fillText(j, LEFT + (j + 0.5) * w, TOP - 9);
    pen.textAlign = "left";
    pen.fillText("row", 2, TOP - 9);
  }

  paintBar(pen, { low, high, unit, log }, x, height) {
    const table = tableOf(this.mode), tall = Math.min(height, 340);
    for (let y = 0; y < tall; y++) {
      const at = 3 * Math.round(255 * (1 - y / tall));
      pen.fillStyle = `rgb(${table[at]},${table[at + 1]},${table[at + 2]})`;
      pen.fillRect(x, TOP + y, 12, 1.5);
    }
    const [factor, prefix] = prefixOf(Math.max(Math.abs(low), Math.abs(high)));
    pen.fillStyle = theme("muted");
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "left";
    const n = tall > 120 ? 4 : 2;
    for (let k = 0; k <= n; k++) {
      const share = k / n;
      const v = log ? low * (high / low) ** share : low + share * (high - low);
      pen.fillText(significant(v / factor, 3), x + 17, TOP + tall * (1 - share) + (k === n ? 5 : k ? 0 : -5));
    }
    pen.fillText(`${prefix}${unit}` || "pulses", x, TOP - 9);
  }

  frame(pen, [row, col], colour, width) {
    const { w, h } = this.box;
    pen.lineWidth = width + 2;
    pen.strokeStyle = theme("panel");
    const grow = Math.max(0, 5 - Math.min(w, h));
    const box = [LEFT + col * w - grow, TOP + row * h - grow, w + 2 * grow, h + 2 * grow];
    pen.strokeRect(...box);
    pen.lineWidth = width;
    pen.strokeStyle = colour;
    pen.strokeRect(...box);
  }

  drawKey() {
    const items = [["not read yet", null]];
    if (this.cells?.failed.some(Boolean)) items.push(["failed: dead, stuck or not verified", true]);
    if (this.cells?.status.some(Boolean)) items.push(["limit, time-out or unknown count", false]);
    this.key.replaceChildren(...items.map(([text, failed]) => {
      const item = document.createElement("li"), swatch = document.createElement("canvas");
      const scale = window.devicePixelRatio || 1;
      swatch.width = swatch.height = 16 * scale;
      swatch.style.width = swatch.style.height = "16px";
      const pen = swatch.getContext("2d");
      pen.scale(scale, scale);
      if (failed === null) {
        pen.fillStyle = hatch(pen);
        pen.fillRect(1, 1, 14, 14);
      } else mark(pen, 0, 0, 16, 16, failed);
      item.append(swatch, text);
      return item;
    }));
  }
}

/** A pattern that no value has, for devices that were not read. */
function hatch(pen) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const inner = tile.getContext("2d");
  inner.fillStyle = theme("void");
  inner.fillRect(0, 0, 6, 6);
  inner.strokeStyle = theme("void-mark");
  inner.beginPath();
  for (const at of [-6, 0, 6]) { inner.moveTo(at - 1, 7); inner.lineTo(at + 7, -1); }
  inner.stroke();
  return pen.createPattern(tile, "repeat");
}

/** A cross for what failed, a ring for what had trouble; white with a dark rim on any colour. */
function mark(pen, x, y, w, h, failed) {
  const r = Math.max(Math.min(w, h) * 0.28, 1.6), cx = x + w / 2, cy = y + h / 2;
  for (const [width, colour] of [[Math.max(r * 0.9, 2.6), "rgba(0,0,0,.75)"], [Math.max(r * 0.4, 1.2), "#fff"]]) {
    pen.lineWidth = width;
    pen.strokeStyle = colour;
    pen.lineCap = "round";
    pen.beginPath();
    if (failed) {
      pen.moveTo(cx - r, cy - r); pen.lineTo(cx + r, cy + r);
      pen.moveTo(cx + r, cy - r); pen.lineTo(cx - r, cy + r);
    } else pen.arc(cx, cy, r, 0, 2 * Math.PI);
    pen.stroke();
  }
}
