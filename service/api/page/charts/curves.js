// Learning curves: the best and the picked trials, one metric at a time.

import { html, useEffect, useMemo, useState } from "../lib.js";
import { useChoice, useNumber, useParameter, useSwitch } from "../address.js";
import { colour, dash } from "../colours.js";
import { counted, leaf, point, short } from "../format.js";
import { byRank, hasRepeats, hasResult, pointKey, SEED, spread } from "../trials.js";
import { useWatched } from "../watched.js";
import { axis, Chart, inks } from "./chart.js";
import { isSnapshot } from "./snapshots.js";

/** @typedef {import("../documents").TrialView} TrialView */
/** @typedef {{name: string, number: number | null, points: [number, number][], colour: string, dash: string, trials?: number[], low?: [number, number][], high?: [number, number][]}} Line */

const BEST = ["0", "4", "8", "16", "32", "100"];

/** How curves are drawn, as the address says it. */
export function useLook() {
  const [smooth, setSmooth] = useNumber("smooth", 0, 0, 0.98);
  const [log, setLog] = useParameter("log", "", (text) => (["x", "y", "xy"].includes(text) ? text : undefined), String);
  return { smooth, logX: log.includes("x"), logY: log.includes("y"), setSmooth, setLog };
}

/** The controls of how curves are drawn. @param {{look: ReturnType<typeof useLook>}} props */
export function LookControls({ look: { smooth, logX, logY, setSmooth, setLog } }) {
  return html`<label>Smoothing <input type="range" min="0" max="0.98" step="0.02" value=${smooth} onInput=${(/** @type {any} */ e) => setSmooth(Number(e.target.value))} /></label>
    <label><input type="checkbox" checked=${logY} onChange=${(/** @type {any} */ e) => setLog(`${logX ? "x" : ""}${e.target.checked ? "y" : ""}`)} /> log y</label>
    <label><input type="checkbox" checked=${logX} onChange=${(/** @type {any} */ e) => setLog(`${e.target.checked ? "x" : ""}${logY ? "y" : ""}`)} /> log x</label>`;
}

/** The choice of a metric; arrays have charts of their own. @param {{metric: string, metrics: string[], choose: (metric: string) => void}} props */
export function MetricChoice({ metric, metrics, choose }) {
  return html`<label>Metric <select value=${metric} onChange=${(/** @type {any} */ e) => choose(e.target.value)}>
    ${[...new Set([metric, ...metrics])].filter((name) => !isSnapshot(name)).map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>`;
}

/** @param {{store: import("../sweep_store.js").SweepStore, size?: string}} props */
export function Curves({ store, size }) {
  const versions = useWatched(store, store.picks);
  const sweep = /** @type {import("../documents").SweepView} */ (store.sweep), objective = sweep.objective.metric;
  const reported = (/** @type {string} */ name) => name === objective || !store.metrics.length || store.metrics.includes(name) || [...store.curves.get(name)?.values() ?? []].some((points) => points.length);
  const [metric, setMetric] = useParameter("metric", objective, (name) => (reported(name) ? name : undefined), String);
  const [best, setBest] = useChoice("best", "8", BEST), top = Number(best), look = useLook();
  const [together, setTogether] = useSwitch("mean", Number(sweep.spec.repeats ?? 1) > 1), [reading, setReading] = useState(true);
  const shown = useMemo(() => {
    const begun = store.compared.filter((t) => t.step > 0);
    const best = together ? bestPoints(sweep, begun).slice(0, top) : [...begun].sort(byRank(sweep.objective.direction)).slice(0, top).map((t) => t.number);
    return [...new Set([...store.picks.numbers, ...best])].filter((n) => store.trials.has(n));
  }, [versions, top, together]);
  const wanted = together ? repeatsOf(store, shown) : shown;
  useEffect(() => {
    let over = false;
    setReading(true);
    store.readCurves(metric, wanted).catch(() => {}).finally(() => { if (!over) setReading(false); });
    return () => { over = true; };
  }, [metric, wanted.join()]);
  const lines = together ? groupedLines(store, metric, wanted) : ownLines(store, metric, shown);
  const { option, hidden } = draw(lines, { metric, ...look, picked: store.picks.numbers });
  return html`<${Chart} hover=${store.hover} title="Learning curves" size=${size} option=${option} file=${`${store.id}-${metric.replace("/", "-")}`}
    label=${`${metric} over the steps, ${lines.length} curves: ${lines.slice(0, 5).map((l) => l.name).join("; ")}`}
    empty=${reading ? "Reading …" : store.orReading(store.rows.length ? "No trial has reported this metric yet." : "No trial has begun yet.")}
    onClick=${(/** @type {any} */ event) => { const number = lines[event.seriesIndex]?.number; if (number !== null && number !== undefined) store.picks.toggle(number); }}
    table=${() => ({ heads: ["trial", "step", metric], rows: lines.flatMap((line) => line.points.map((p) => [line.name, ...p])) })}>
    <${MetricChoice} metric=${metric} metrics=${store.metrics} choose=${setMetric} />
    <label>Best <select value=${best} onChange=${(/** @type {any} */ e) => setBest(e.target.value)}>${BEST.map((count) => html`<option key=${count} value=${count}>${count}</option>`)}</select></label>
    <${LookControls} look=${look} />
    ${hasRepeats(sweep) ? html`<label><input type="checkbox" checked=${together} onChange=${(/** @type {any} */ e) => setTogether(e.target.checked)} /> mean over seeds</label>` : null}
    ${hidden ? html`<span class="quiet">${counted(hidden, "value")} not above 0 ${hidden === 1 ? "is" : "are"} left out</span>` : null}
  <//>`;
}

/** @param {import("../sweep_store.js").SweepStore} store @param {string} metric @param {number[]} numbers @returns {Line[]} */
function ownLines(store, metric, numbers) {
  const known = store.curves.get(metric);
  let free = Math.max(0, ...[...store.picks.places.values()].map((place) => place + 1));
  return numbers.map((number) => {
    const place = store.picks.places.get(number) ?? free++;
    const trial = /** @type {any} */ (store.trials.get(number));
    return { name: `#${number} ${point(trial.params)}`, number, points: known?.get(number) ?? [], colour: colour(place), dash: dash(place) };
  }).filter((line) => line.points.length);
}

/** A trial of each point, the point with the best mean first. @param {import("../documents").SweepView} sweep @param {TrialView[]} trials */
function bestPoints(sweep, trials) {
  /** @type {Map<string, TrialView[]>} */ const points = new Map();
  for (const trial of trials) points.set(pointKey(sweep, trial), [...points.get(pointKey(sweep, trial)) ?? [], trial]);
  const sign = sweep.objective.direction === "maximize" ? -1 : 1;
  const worth = (/** @type {TrialView[]} */ own) => { const known = own.filter(hasResult).map((t) => Number(t.objective)); return known.length ? sign * spread(known).mean : Infinity; };
  const valued = [...points.values()].map((own) => ({ number: own[0].number, worth: worth(own) }));
  return valued.sort((a, b) => (a.worth === b.worth ? a.number - b.number : a.worth - b.worth)).map((own) => own.number);
}

/** All trials of the points that some trials belong to. @param {import("../sweep_store.js").SweepStore} store @param {number[]} numbers */
function repeatsOf(store, numbers) {
  const sweep = /** @type {any} */ (store.sweep), keys = new Set(numbers.map((n) => pointKey(sweep, /** @type {any} */ (store.trials.get(n)))));
  const place = new Map([...keys].map((key, at) => [key, at])), at = (/** @type {TrialView} */ trial) => Number(place.get(pointKey(sweep, trial)));
  return store.compared.filter((trial) => trial.step > 0 && keys.has(pointKey(sweep, trial))).sort((a, b) => at(a) - at(b) || a.number - b.number).map((trial) => trial.number).slice(0, 400);
}

/** The mean of repeats with the 95 % interval of the mean. @param {import("../sweep_store.js").SweepStore} store @param {string} metric @param {number[]} numbers @returns {Line[]} */
function groupedLines(store, metric, numbers) {
  const groups = new Map();
  for (const number of numbers) {
    const trial = /** @type {any} */ (store.trials.get(number)), key = pointKey(/** @type {any} */ (store.sweep), trial);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(trial);
  }
  return [...groups.values()].map((trials, place) => {
    const curves = trials.map((/** @type {any} */ t) => store.curves.get(metric)?.get(t.number) ?? []);
    const { [SEED]: _, ...params } = trials[0].params;
    return { name: `${point(params)} (${trials.length} seeds)`, number: null, trials: trials.map((/** @type {any} */ t) => t.number), colour: colour(place), dash: dash(place), ...meanOf(curves) };
  }).filter((line) => line.points.length);
}

/** Mean and interval at the steps that at least two curves, or the only one, have. @param {[number, number][][]} curves */
export function meanOf(curves) {
  const at = new Map();
  for (const curve of curves) for (const [step, value] of curve) at.set(step, [...at.get(step) ?? [], value]);
  const least = Math.min(2, curves.filter((curve) => curve.length).length);
  /** @type {[number, number][]} */ const points = [], /** @type {[number, number][]} */ low = [], /** @type {[number, number][]} */ high = [];
  for (const [step, values] of [...at].sort((a, b) => a[0] - b[0])) {
    if (values.length < least) continue;
    const { mean, half } = spread(values);
    points.push([step, mean]);
    low.push([step, mean - (half ?? 0)]);
    high.push([step, mean + (half ?? 0)]);
  }
  return { points, low, high };
}

/** An exponential mean that forgets its start. @param {[number, number][]} points @param {number} weight @returns {[number, number][]} */
function smoothed(points, weight) {
  if (!weight) return points;
  let sum = 0, total = 0;
  return points.map(([step, value]) => {
    sum = weight * sum + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return [step, sum / total];
  });
}

/**
 * The option of a chart of lines, and how many values a logarithmic axis leaves out.
 * @param {Line[]} lines
 * @param {{metric: string, logX: boolean, logY: boolean, smooth: number, picked?: number[], xName?: string, yName?: string}} how
 */
export function draw(lines, { metric, logX, logY, smooth, picked = [], xName = "step", yName = metric }) {
  if (!lines.length) return { option: null, hidden: 0 };
  let hidden = 0;
  const kept = (/** @type {[number, number][]} */ points) => points.filter(([x, y]) => {
    const fits = (!logX || x > 0) && (!logY || y > 0);
    hidden += fits ? 0 : 1;
    return fits;
  });
  const ink = inks(), many = lines.length > 40;
  const main = lines.map((line) => ({
    type: "line", name: line.name, trials: line.trials ?? (line.number === null ? [] : [line.number]), showSymbol: line.points.length === 1, symbolSize: 6, data: kept(smoothed(line.points, smooth)),
    triggerLineEvent: true, sampling: "lttb", z: line.number !== null && picked.includes(line.number) ? 5 : 2, emphasis: { focus: many ? "none" : "series", lineStyle: { width: 3 } },
    lineStyle: { width: line.number !== null && picked.includes(line.number) ? 2.8 : 1.6, color: line.colour, type: line.dash, opacity: many && !picked.includes(/** @type {number} */ (line.number)) ? 0.55 : 1 },
    itemStyle: { color: line.colour },
  }));
  const bands = lines.flatMap((line) => (line.low && line.high ? [
    { type: "line", name: line.name, data: kept(line.low), showSymbol: false, silent: true, tooltip: { show: false }, lineStyle: { width: 1, opacity: 0.4, color: line.colour }, itemStyle: { color: line.colour } },
    { type: "line", name: line.name, data: kept(line.high), showSymbol: false, silent: true, tooltip: { show: false }, lineStyle: { width: 1, opacity: 0.4, color: line.colour }, itemStyle: { color: line.colour } },
  ] : []));
  const option = {
    grid: { left: 64, right: 20, top: 16, bottom: 84 },
    legend: { type: "scroll", bottom: 0, left: 8, right: 8, icon: "roundRect", itemWidth: 11, itemHeight: 11, textStyle: { color: ink.text, width: lines.length > 4 ? 220 : 420, overflow: "truncate", fontSize: 12 },
      pageTextStyle: { color: ink.quiet }, pageIconColor: ink.quiet, data: lines.map((line) => line.name) },
    tooltip: { trigger: "axis", axisPointer: { type: "cross", lineStyle: { color: ink.quiet }, crossStyle: { color: ink.quiet }, label: { backgroundColor: ink.quiet, formatter: (/** @type {any} */ p) => short(Number(p.value)) } },
      formatter: (/** @type {any[]} */ items) => tip(items, metric, bands.length > 0) },
    xAxis: axis({ type: logX ? "log" : "value", name: xName, min: logX ? undefined : "dataMin", max: "dataMax", splitLine: { show: false } }),
    yAxis: axis({ type: logY ? "log" : "value", name: yName, nameGap: 46, scale: true, axisLabel: { color: ink.quiet, fontSize: 12, formatter: (/** @type {number} */ v) => short(v) } }),
    dataZoom: [{ type: "inside", filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseMove: false }],
    series: [...main, ...bands],
  };
  return { option, hidden };
}

/** @param {any[]} items @param {string} metric @param {boolean} banded */
function tip(items, metric, banded) {
  const seen = new Set(), rows = items.filter((item) => !banded || (!seen.has(item.seriesName) && seen.add(item.seriesName)));
  rows.sort((a, b) => b.value[1] - a.value[1]);
  const lines = rows.slice(0, 14).map((item) => `${item.marker} ${short(item.value[1])}  ${item.seriesName.length > 52 ? `${item.seriesName.slice(0, 51)}…` : item.seriesName}`);
  return [`step ${short(rows[0]?.value[0])}, ${leaf(metric)}`, ...lines, ...rows.length > 14 ? [`… and ${rows.length - 14} more`] : []].join("\n");
}
