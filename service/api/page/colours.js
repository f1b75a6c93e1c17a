// Colours of charts: a palette that people with any colour vision tell apart, and a scale from bad to good.

const LIGHT = ["#0b66b0", "#c8500a", "#00805a", "#b03a86", "#7a6200", "#2f8fc9", "#5a48a8", "#8a1f3d"];
const DARK = ["#6cb6f5", "#f2965a", "#45c79c", "#e58cc4", "#d9bd4a", "#9ad4f7", "#b0a2f2", "#f28ba3"];
/** The colours of values from the worst to the best: viridis, which is read in the same order with any colour vision,
 * without the ends that dark and white paper would swallow. The figures of the report have the same ones (drawing.py). */
export const SCALE = ["#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26"];

const DASHES = ["solid", "dashed", "dotted"];

const scheme = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => scheme.matches;

/** @param {() => void} listener */
export function onScheme(listener) {
  scheme.addEventListener("change", listener);
  return () => scheme.removeEventListener("change", listener);
}

/** The colour of the n-th line of a chart. @param {number} n */
export const colour = (n) => (isDark() ? DARK : LIGHT)[n % LIGHT.length];

/** @param {number} n */
export const dash = (n) => DASHES[Math.floor(n / LIGHT.length) % DASHES.length];

/** The colour of text on a share from 0 (worst) to 1 (best) of the scale. @param {number} share */
export function ink(share) {
  const at = SCALE[Math.round(Math.max(0, Math.min(1, share)) * (SCALE.length - 1))];
  const light = [1, 3, 5].map((from) => (parseInt(at.slice(from, from + 2), 16) / 255) ** 2.2);
  return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2] > 0.18 ? "#111" : "#fff";
}

/** The border of what is picked: it is no colour of the scale. */
export const PICKED = "#ff6d00";

/** The colours of the states of trials in charts. @returns {Record<string, string>} */
export const stateColours = () => (isDark()
  ? { running: "#6cb6f5", succeeded: "#45c79c", pruned: "#d9bd4a", failed: "#f28b8b", cancelled: "#9aa0a6", waiting: "#5d646c" }
  : { running: "#0b66b0", succeeded: "#00805a", pruned: "#a67c00", failed: "#b4232c", cancelled: "#7b8087", waiting: "#b9bec4" });

/**
 * How values are placed on a scale from 0 (worst) to 1 (best) so that a few extremes do not blind the rest.
 * @param {number[]} values
 * @param {string} direction
 * @param {string} how "rank", "linear" without extremes, or "log"
 */
export function shares(values, direction, how) {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b), last = sorted.length - 1;
  const flip = (/** @type {number} */ share) => (direction === "maximize" ? share : 1 - share);
  if (last < 0) return { of: () => 0, value: () => NaN, low: NaN, high: NaN, clipped: 0 };
  if (how === "rank") {
    const of = (/** @type {number} */ v) => {
      let low = 0, high = sorted.length;
      while (low < high) { const mid = (low + high) >> 1; if (sorted[mid] < v) low = mid + 1; else high = mid; }
      let end = low;
      while (end < last && sorted[end + 1] === v) end += 1;
      return flip(last ? (low + end) / 2 / last : 1);
    };
    return { of, value: (/** @type {number} */ s) => sorted[Math.round(flip(s) * last)], low: sorted[0], high: sorted[last], clipped: 0 };
  }
  const [from, to] = fences(sorted), inside = sorted.filter((v) => v >= from && v <= to);
  let low = inside[0], high = inside[inside.length - 1];
  const log = how === "log" && low > 0;
  const place = log ? Math.log : (/** @type {number} */ v) => v, back = log ? Math.exp : (/** @type {number} */ v) => v;
  const of = (/** @type {number} */ v) => {
    if (high === low) return flip(v > high ? 1 : v < low ? 0 : direction === "maximize" ? 1 : 0);
    const held = Math.min(high, Math.max(low, v));
    return flip((place(held) - place(low)) / (place(high) - place(low)));
  };
  return { of, value: (/** @type {number} */ s) => back(place(low) + flip(s) * (place(high) - place(low))), low, high, clipped: sorted.length - inside.length };
}

/** The ends of the shortest interval with half of the values, moved outwards by three of its widths. @param {number[]} sorted */
function fences(sorted) {
  const held = (sorted.length >> 1) + 1;
  let start = 0;
  for (let i = 0; i + held <= sorted.length; i += 1) if (sorted[i + held - 1] - sorted[i] < sorted[start + held - 1] - sorted[start]) start = i;
  const low = sorted[start], high = sorted[start + held - 1], width = (high - low) || Math.abs(low) / 2 || 1;
  return [low - 3 * width, high + 3 * width];
}
