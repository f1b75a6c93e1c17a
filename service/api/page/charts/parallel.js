// Parallel coordinates: one line for each trial over the swept fields and the objective.

import { html, useMemo } from "../lib.js";
import { PICKED, shares } from "../colours.js";
import { short } from "../format.js";
import { axisOf, byRank, hasResult, paths } from "../trials.js";
import { useWatched } from "../watched.js";
import { Chart, inks } from "./chart.js";
import { colourBar, tellTrial } from "./plane.js";

const MOST = 2000;

/** @param {{store: import("../sweep_store.js").SweepStore}} props */
export function Parallel({ store }) {
  const versions = useWatched(store, store.picks);
  const sweep = /** @type {any} */ (store.sweep), { metric, direction } = sweep.objective;
  const made = useMemo(() => {
    const results = store.compared.filter(hasResult).sort(byRank(direction)), lines = results.slice(0, MOST).reverse();
    if (!lines.length) return null;
    const axes = paths(sweep, lines).map((path) => axisOf(sweep, path, lines)).filter((one) => one.values.length);
    return { lines, axes, left: results.length - lines.length };
  }, [versions]);
  const option = made ? draw(store, made, metric, direction) : null;
  // Ranges that are chosen on the axes pick the trials that lie in all of them.
  const brush = (/** @type {any} */ { chart }) => {
    const chosen = chart.getModel().getSeriesByIndex(0).getRawIndicesByActiveState("active");
    store.picks.clear();
    if (chosen.length && made && chosen.length < made.lines.length) store.picks.set(chosen.slice(-50).map((/** @type {number} */ i) => made.lines[i].number));
  };
  return html`<${Chart} hover=${store.hover} title="Parallel coordinates" size="tall" option=${option} file=${`${store.id}-parallel`} onBrush=${brush}
    label=${`${made?.lines.length ?? 0} trials over ${made?.axes.map((one) => one.name).join(", ") ?? ""} and ${metric}`} empty=${store.orReading("No trial has a result yet.")}
    onClick=${(/** @type {any} */ event) => { const trial = event.data?.trial; if (trial) store.picks.toggle(trial.number); }}
    table=${() => ({ heads: ["trial", ...made?.axes.map((one) => one.path) ?? [], metric], rows: made?.lines.map((t) => [t.number, ...made.axes.map((one) => t.params[one.path]), t.objective]) ?? [] })}>
    <span class="quiet">Drag along an axis to pick the trials of a range.${made?.left ? ` The best ${MOST} trials are drawn; ${made.left} are not.` : ""}</span>
  <//>`;
}

/** @param {import("../sweep_store.js").SweepStore} store @param {any} made @param {string} metric @param {string} direction */
function draw(store, { lines, axes }, metric, direction) {
  const ink = inks(), values = lines.map((/** @type {any} */ t) => Number(t.objective)), placed = shares(values, direction, "linear");
  const style = { nameTextStyle: { color: ink.text, fontSize: 12 }, axisLine: { lineStyle: { color: ink.quiet } }, axisTick: { lineStyle: { color: ink.quiet } }, axisLabel: { color: ink.text, formatter: short, fontSize: 12, backgroundColor: ink.card, padding: [1, 3], borderRadius: 3 }, nameLocation: "end" };
  const data = (/** @type {any[]} */ some, /** @type {(share: number) => any} */ style) => some.map((trial) => {
    const share = placed.of(Number(trial.objective));
    return { value: [...axes.map((/** @type {any} */ one) => cellOf(one, trial)), Number(trial.objective), share], trial, lineStyle: style(share) };
  });
  const { low, high } = placed, flat = low === high, opacity = Math.max(0.15, Math.min(0.9, 60 / lines.length));
  return {
    parallel: { left: 48, right: 120, top: 48, bottom: 24, parallelAxisDefault: style },
    parallelAxis: [
      ...axes.map((/** @type {any} */ one, /** @type {number} */ dim) => (isContinuous(one)
        ? { ...style, dim, name: one.name, type: one.log ? "log" : "value", scale: true, min: "dataMin", max: "dataMax" }
        : { ...style, dim, name: one.name, type: "category", data: one.values.map(short) })),
      { ...style, dim: axes.length, name: metric, type: "value", inverse: direction === "minimize", ...flat ? { scale: true } : { min: low, max: high } },
    ],
    visualMap: colourBar(ink, placed, axes.length + 1),
    tooltip: { formatter: (/** @type {any} */ p) => (p.data?.trial ? tellTrial(p.data.trial, metric) : "") },
    series: [
      // the best lines are the palest: they are broader, and lie above the others
      { type: "parallel", data: data(lines, (share) => ({ width: 0.8 + 1.6 * share, opacity: opacity * (0.6 + 0.4 * share) })), smooth: false, inactiveOpacity: 0.03, activeOpacity: 0.9, progressive: 500, emphasis: { lineStyle: { width: 3, opacity: 1 } } },
      { type: "parallel", data: data(lines.filter((/** @type {any} */ t) => store.picks.has(t.number)), () => ({ width: 3, opacity: 1, color: PICKED })), z: 5 },
    ],
  };
}

/** Whether a field gets an axis of numbers; few values are spread evenly. @param {any} one */
const isContinuous = (one) => one.numeric && one.values.length > 12;

/** @param {any} one @param {any} trial */
const cellOf = (one, trial) => (isContinuous(one) ? trial.params[one.path] ?? NaN : short(trial.params[one.path] ?? ""));
