// Colours of the maps and of the theme at hand.

const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779",
  "#6ece58", "#b5de2b", "#fde725"];
const MAGMA = ["#1d1147", "#51127c", "#822681", "#b73779", "#e75263", "#fc8961", "#fec488", "#fcfdbf"];
const DIVERGING_LIGHT = ["#053061", "#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62",
  "#b2182b", "#67001f"];
const DIVERGING_DARK = ["#a9d6ff", "#5fa8e6", "#2f72b5", "#23435f", "#2b3038", "#5e3a2b", "#b05a35",
  "#f08a55", "#ffd0ae"];

const dark = window.matchMedia("(prefers-color-scheme: dark)");

function ramp(stops) {
  const rgb = stops.map((s) => [1, 3, 5].map((k) => parseInt(s.slice(k, k + 2), 16)));
  const table = new Uint8ClampedArray(256 * 3);
  for (let k = 0; k < 256; k++) {
    const at = (k / 255) * (rgb.length - 1);
    const low = Math.min(Math.floor(at), rgb.length - 2);
    for (let c = 0; c < 3; c++) {
      table[3 * k + c] = rgb[low][c] + (at - low) * (rgb[low + 1][c] - rgb[low][c]);
    }
  }
  return table;
}

const TABLES = { value: ramp(VIRIDIS), pulses: ramp(MAGMA), light: ramp(DIVERGING_LIGHT), dark: ramp(DIVERGING_DARK) };

/** Return 256 colours, three bytes each, for a mode of the map. */
export function tableOf(mode) {
  if (mode === "error") return dark.matches ? TABLES.dark : TABLES.light;
  return mode === "pulses" ? TABLES.pulses : TABLES.value;
}

/** Return a colour of the theme, by the name of its CSS variable without the dashes. */
export const theme = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export const SERIES = ["s1", "s2", "s3", "s4", "s5", "s6"];

/** Call `then` when the theme changes. */
export const onTheme = (then) => dark.addEventListener("change", then);
