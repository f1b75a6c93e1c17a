// Slices: the objective over each swept field, one small plot for each.

import { html, useMemo } from "../lib.js";
import { leaf, short } from "../format.js";
import { axisOf, hasResult, paths } from "../trials.js";
import { PICKED, shares } from "../colours.js";
import { useWatched } from "../watched.js";
import { axis, Chart, inks } from "./chart.js";
import { ends, marks, tellTrial } from "./plane.js";

const MOST = 12;

/** @param {{store: import("../sweep_store.js").SweepStore}} props */
export function Slices({ store }) {
  const versions = useWatched(store, store.picks);
  const sweep = /** @type {any} */ (store.sweep), { metric, direction } = sweep.objective;
  const made = useMemo(() => {
    const results = store.compared.filter(hasResult);
    return { results, axes: paths(sweep, results).map((path) => axisOf(sweep, path, results)).filter((one) => one.values.length > 1) };
  }, [versions]);
  const placed = shares(made.results.map((t) => Number(t.objective)), direction, "linear");
  return html`<div class="tiles">
    ${made.axes.slice(0, MOST).map((one) => html`<${Chart} key=${one.path} hover=${store.hover} title=${leaf(one.path)} size="short" file=${`${store.id}-slice-${leaf(one.path)}`}
      label=${`${metric} over ${one.name}`} option=${draw(store, made.results, one, metric, placed)}
      onClick=${(/** @type {any} */ event) => store.picks.toggle(event.data.trial.number)}
      table=${() => ({ heads: ["trial", one.path, metric], rows: made.results.map((t) => [t.number, t.params[one.path], t.objective]) })} />`)}
    ${made.axes.length > MOST ? html`<p class="quiet">The first ${MOST} of ${made.axes.length} fields are shown.</p>` : null}
    ${made.axes.length ? null : html`<p class="quiet">No field has two values with a result yet.</p>`}
  </div>`;
}

/** @param {import("../sweep_store.js").SweepStore} store @param {any[]} results @param {any} one @param {string} metric @param {any} placed */
function draw(store, results, one, metric, placed) {
  const ink = inks(), far = results.filter((t) => t.objective < placed.low || t.objective > placed.high).length;
  return {
    grid: { left: 60, right: 16, top: 12, bottom: 48 },
    tooltip: { formatter: (/** @type {any} */ p) => tellTrial(p.data.trial, metric) },
    xAxis: axis(one.numeric ? { type: one.log ? "log" : "value", name: one.name, scale: true, ...ends(one), axisLabel: { color: ink.quiet, formatter: short, hideOverlap: true, showMinLabel: Boolean(marks(one)), showMaxLabel: Boolean(marks(one)), customValues: marks(one) }, axisTick: { lineStyle: { color: ink.line }, customValues: marks(one) } }
      : { type: "category", name: one.name, data: one.values.map(short) }),
    yAxis: axis({ type: "value", name: `${metric}${far ? ` (${far} beyond)` : ""}`, nameGap: 44, min: placed.low < placed.high ? placed.low : undefined, max: placed.low < placed.high ? placed.high : undefined, scale: true, axisLabel: { color: ink.quiet, formatter: short } }),
    series: [{ type: "scatter", emphasis: { scale: 1.7, itemStyle: { borderColor: ink.text, borderWidth: 2, opacity: 1 } }, symbolSize: (/** @type {any} */ _, /** @type {any} */ p) => (store.picks.has(p.data.trial.number) ? 13 : 7), clip: true,
      data: results.filter((t) => t.params[one.path] !== undefined).map((trial) => ({ value: [one.numeric ? trial.params[one.path] : short(trial.params[one.path]), Number(trial.objective)], trial,
        itemStyle: { color: ink.accent, opacity: store.picks.has(trial.number) ? 1 : 0.55, borderColor: store.picks.has(trial.number) ? PICKED : "transparent", borderWidth: 2 } })) }],
  };
}
