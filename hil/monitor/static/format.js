// Numbers as people read them: SI prefixes, durations, counts.

const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"],
  [1e-6, "µ"], [1e-9, "n"], [1e-12, "p"], [1e-15, "f"]];

/** Return [factor, prefix] that brings `value` into 1 … 1000. */
export function prefixOf(value) {
  const size = Math.abs(value);
  if (!(size > 0)) return [1, ""];
  return PREFIXES.find(([factor]) => size >= factor * 0.9995) ?? PREFIXES.at(-1);
}

/** Return a quantity such as "12.3 µS"; "–" for none. */
export function quantity(value, unit, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const [factor, prefix] = prefixOf(value);
  return `${significant(value / factor, digits)} ${prefix}${unit}`;
}

/** Return a number with some significant digits and no exponent where it is near 1. */
export function significant(value, digits = 3) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(digits - 1);
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return value.toFixed(Math.min(decimals, 8)).replace(/^-0$/, "0");
}

export const count = (n) => (n === null || n === undefined ? "–" : Math.round(n).toLocaleString("en"));

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;

/** Return seconds as "12 s", "3 min 05 s", "2 h 10 min", "3 d 4 h". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  const two = (n) => String(n).padStart(2, "0");
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  const min = Math.round(s / 60);
  if (min < 2880) return `${Math.floor(min / 60)} h ${two(min % 60)} min`;
  return `${Math.floor(min / 1440)} d ${Math.floor((min % 1440) / 60)} h`;
}

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  const [factor, prefix] = n < 1000 ? [1, ""] : prefixOf(n);
  return `${significant(n / factor, 3)} ${prefix}B`;
}

/** Return the numbers in base64 text, little-endian, as a typed array. */
export function unpack(text, Kind) {
  const raw = atob(text);
  const octets = new Uint8Array(raw.length);
  for (let k = 0; k < raw.length; k++) octets[k] = raw.charCodeAt(k);
  return new Kind(octets.buffer);
}
