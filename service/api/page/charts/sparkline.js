// A small picture of how the best objective of a sweep got better, for a row of a table.

import { html } from "../lib.js";
import { counted, short } from "../format.js";

const WIDTH = 84, HEIGHT = 22, EDGE = 3;

/** @param {{points: [number, number][] | undefined, metric: string}} props pairs of a number of trials and the best of so many */
export function Sparkline({ points, metric }) {
  if (!points?.length) return null;
  const last = points[points.length - 1], values = points.map(([, value]) => value), low = Math.min(...values), high = Math.max(...values);
  const label = points.length === 1 ? `best ${metric} ${short(last[1])}` : `best ${metric} so far: ${short(values[0])} at first, ${short(last[1])} after ${counted(last[0], "trial")}`;
  const start = points[0][0], x = (/** @type {number} */ count) => EDGE + ((WIDTH - 2 * EDGE) * (count - start)) / Math.max(1, last[0] - start);
  const y = (/** @type {number} */ value) => (high === low ? HEIGHT / 2 : HEIGHT - EDGE - ((HEIGHT - 2 * EDGE) * (value - low)) / (high - low));
  // a value holds until a better one comes
  const line = points.map(([count, value], i) => (i ? `H${x(count).toFixed(1)}V${y(value).toFixed(1)}` : `M${x(count).toFixed(1)},${y(value).toFixed(1)}`)).join("");
  return html`<svg class="sparkline" role="img" aria-label=${label} width=${WIDTH} height=${HEIGHT} viewBox=${`0 0 ${WIDTH} ${HEIGHT}`}><title>${label}</title>
    ${points.length > 1 ? html`<path d=${line} />` : null}<circle cx=${points.length > 1 ? x(last[0]) : WIDTH - EDGE} cy=${y(last[1])} r="2.4" /></svg>`;
}
