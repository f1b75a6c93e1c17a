// Arrays that a trial reports at some steps, as maps: singular values over the band, gradients over the sequence.

import { html, useState } from "../lib.js";
import { SCALE } from "../colours.js";
import { short } from "../format.js";
import { axis, Chart, inks } from "./chart.js";

/** @typedef {import("../documents").MetricsPoint} Point */

/** Whether a metric is an entry of an array, which is drawn as a map. @param {string} name */
export const isSnapshot = (name) => /^(spectral_hist|grad_t)\//.test(name);

/** The reports that have all metrics with a prefix, in the order of their names. @param {Point[]} points @param {string} prefix */
export function snapshots(points, prefix) {
  const names = [...new Set(points.flatMap((p) => Object.keys(p.values).filter((name) => name.startsWith(prefix))))].sort((a, b) => Number(a.slice(prefix.length)) - Number(b.slice(prefix.length)));
  return { names, rows: points.filter((p) => names.length && names.every((name) => typeof p.values[name] === "number")).map((p) => ({ step: p.step, values: names.map((name) => Number(p.values[name])) })) };
}

/** @param {{points: Point[], id: string, band: [number, number] | null}} props */
export function SingularValues({ points, id, band }) {
  const { rows, names } = snapshots(points, "spectral_hist/");
  const label = (/** @type {number} */ i) => (band ? short(band[0] + ((i + 0.5) * (band[1] - band[0])) / names.length) : `${(100 * i) / names.length}–${(100 * (i + 1)) / names.length} %`);
  return html`<${Map2d} title="Singular values" file=${`${id}-singular-values`} rows=${rows} labels=${names.map((_, i) => label(i))} yName=${band ? "singular value" : "part of the band"} tell=${(/** @type {number} */ v) => `${(100 * v).toFixed(1)} % of them`}
    note="How the singular values lie in the band that the margin leaves, over training." empty="No report has singular values: the network has none, or none were measured yet." />`;
}

/** @param {{points: Point[], id: string, length: number | null}} props */
export function GradientFlow({ points, id, length }) {
  const { rows, names } = snapshots(points, "grad_t/"), last = Math.max(1, names.length - 1);
  return html`<${Map2d} title="Gradient flow" file=${`${id}-gradients`} rows=${rows} labels=${names.map((_, i) => (length ? short(Math.round((i * length) / last)) : `${Math.round((100 * i) / last)} %`))} yName="time in the sequence" logs
    tell=${(/** @type {number} */ v) => `norm ${short(v)}`} note="The norm of the gradient at each time of the sequence, over training; even colours mean that it neither grows nor vanishes." empty="No gradients were measured yet." />`;
}

/** @param {{title: string, file: string, rows: {step: number, values: number[]}[], labels: string[], yName: string, tell: (v: number) => string, note: string, empty: string, logs?: boolean}} props */
function Map2d({ title, file, rows, labels, yName, tell, note, empty, logs }) {
  const [at, setAt] = useState(/** @type {number | null} */ (null));
  const ink = inks(), place = (/** @type {number} */ v) => (logs ? Math.log10(Math.max(v, 1e-30)) : v);
  const all = rows.flatMap((row) => row.values.map(place)), low = logs ? Math.max(Math.min(...all), Math.max(...all) - 12) : 0, high = Math.max(...all);
  const chosen = rows.length ? rows[Math.min(at ?? rows.length - 1, rows.length - 1)] : null;
  const option = !chosen ? null : {
    grid: [{ left: 72, right: "38%", top: 12, bottom: 56 }, { left: "70%", right: 20, top: 12, bottom: 56 }],
    visualMap: { type: "continuous", show: false, seriesIndex: 0, min: low, max: high === low ? low + 1 : high, dimension: 2, inRange: { color: SCALE } },
    tooltip: { formatter: (/** @type {any} */ p) => (p.seriesIndex === 0 ? `step ${rows[p.value[0]].step}\n${yName} ${labels[p.value[1]]}\n${tell(rows[p.value[0]].values[p.value[1]])}` : `${yName} ${labels[p.dataIndex]}\n${tell(chosen.values[p.dataIndex])}`) },
    xAxis: [axis({ type: "category", name: "step", data: rows.map((row) => short(row.step)), splitLine: { show: false } }),
      axis({ type: logs ? "log" : "value", gridIndex: 1, name: `at step ${short(chosen.step)}`, axisLabel: { color: ink.quiet, formatter: short, hideOverlap: true } })],
    yAxis: [axis({ type: "category", name: yName, nameGap: 52, data: labels, splitLine: { show: false } }), axis({ type: "category", gridIndex: 1, data: labels, axisLabel: { show: false }, splitLine: { show: false } })],
    series: [
      { type: "heatmap", data: rows.flatMap((row, i) => row.values.map((v, j) => [i, j, place(v)])), emphasis: { itemStyle: { borderColor: ink.text, borderWidth: 1 } } },
      { type: logs ? "line" : "bar", xAxisIndex: 1, yAxisIndex: 1, data: chosen.values.map((v, j) => [logs ? Math.max(v, 1e-30) : v, j]), barWidth: "80%", itemStyle: { color: ink.accent }, lineStyle: { color: ink.accent, width: 2 }, symbolSize: 6 },
    ],
  };
  return html`<${Chart} title=${title} option=${option} file=${file} label=${`${title} of ${rows.length} reports. ${note}`} empty=${empty}
    onClick=${(/** @type {any} */ event) => { if (event.seriesIndex === 0) setAt(event.value[0]); }}
    table=${() => ({ heads: ["step", ...labels], rows: rows.map((row) => [row.step, ...row.values]) })}>
    ${rows.length > 1 ? html`<label>Step <input type="range" min="0" max=${rows.length - 1} value=${Math.min(at ?? rows.length - 1, rows.length - 1)} onInput=${(/** @type {any} */ e) => setAt(Number(e.target.value) === rows.length - 1 ? null : Number(e.target.value))} /></label>` : null}
    <span class="quiet">${note}</span><//>`;
}
