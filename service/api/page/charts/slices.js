// Slices: the objective over each swept field, one small plot for each.

import { html, useMemo } from "../lib.js";
import { useChoices } from "../address.js";
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
  const placed = shares(made.results.map((t) => Number(t.objective)), direction, "linear"), known = made.axes.map((one) => one.path);
  const [chosen, choose] = useChoices("fields", known.slice(0, MOST), store.complete ? known : null), shown = made.axes.filter((one) => chosen.includes(one.path));
  return html`${known.length > 1 ? html`<${FieldChoice} known=${known} chosen=${chosen} choose=${choose} />` : null}
  <div class="tiles">
    ${shown.map((one) => html`<${Chart} key=${one.path} hover=${store.hover} title=${leaf(one.path)} size="short" file=${`${store.id}-slice-${leaf(one.path)}`}
      label=${`${metric} over ${one.name}`} option=${draw(store, made.results, one, metric, placed)}
      onClick=${(/** @type {any} */ event) => store.picks.toggle(event.data.trial.number)}
      table=${() => ({ heads: ["trial", one.path, metric], rows: made.results.map((t) => [t.number, t.params[one.path], t.objective]) })} />`)}
    ${known.length ? null : html`<p class="quiet">No field has two values with a result yet.</p>`}
  </div>`;
}

/** Which fields are shown, at least one. @param {{known: string[], chosen: string[], choose: (fields: string[]) => void}} props */
function FieldChoice({ known, chosen, choose }) {
  const toggle = (/** @type {string} */ path) => { const next = known.filter((one) => (one === path) !== chosen.includes(one)); if (next.length) choose(next); };
  return html`<div class="strip" role="group" aria-label="Fields that are shown"><span class="quiet">Fields</span>
    <div class="segments">${known.map((path) => html`<button key=${path} title=${path} aria-pressed=${chosen.includes(path)} onClick=${() => toggle(path)}>${leaf(path)}</button>`)}</div>
    ${known.length > MOST ? html`<span class="quiet">${chosen.length} of ${known.length} are shown</span>` : null}</div>`;
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
