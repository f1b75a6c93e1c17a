// The trade-off between several objectives: the trials that no other one beats in all of them.

import { html } from "../lib.js";
import { useParameter } from "../address.js";
import { PICKED, stateColours } from "../colours.js";
import { short } from "../format.js";
import { useWatched } from "../watched.js";
import { axis, Chart, inks } from "./chart.js";
import { useReport } from "./importance.js";
import { tellTrial } from "./plane.js";

/** @param {{store: import("../sweep_store.js").SweepStore}} props */
export function TradeOff({ store }) {
  useWatched(store, store.picks);
  const { found, problem } = useReport(store, "pareto");
  const metrics = /** @type {string[]} */ (found?.metrics ?? []);
  const [axes, setAxes] = useParameter("objectives", [0, 1], (text) => placesOf(text, metrics), (places) => places.map((place) => metrics[place]).join(","));
  const choose = (/** @type {number} */ which) => (/** @type {any} */ e) => setAxes(which ? [axes[0], Number(e.target.value)] : [Number(e.target.value), axes[1]]);
  const options = (/** @type {number} */ other) => metrics.map((metric, i) => (i === other ? null : html`<option key=${metric} value=${String(i)}>${metric}</option>`));
  return html`<${Chart} hover=${store.hover} title="Trade-off" size="tall" option=${found?.front.length ? draw(store, found, axes) : null} file=${`${store.id}-trade-off`}
    label=${found ? `${found.front.length} trials that no other beats in all of ${found.metrics.join(", ")}` : "Trade-off"} empty=${problem || (found ? "No trial has a value of every objective yet." : "Computing …")}
    onClick=${(/** @type {any} */ event) => { if (event.data?.own) store.picks.toggle(event.data.own.number); }}
    table=${() => ({ heads: ["trial", "on the front", ...found.metrics], rows: [...found.front.map((/** @type {any} */ t) => [t.number, "yes", ...t.values]), ...found.others.map((/** @type {any} */ t) => [t.number, "no", ...t.values])] })}>
    ${found && found.metrics.length > 2 ? html`<label>x <select value=${String(axes[0])} onChange=${choose(0)}>${options(axes[1])}</select></label><label>y <select value=${String(axes[1])} onChange=${choose(1)}>${options(axes[0])}</select></label>` : null}
    <span class="quiet">${found?.front.length ? `${found.front.length} of ${found.front.length + found.others.length} trials are beaten by no other in all objectives.` : ""}${found?.left_out ? ` ${found.left_out} lack the value of an objective.` : ""}</span>
  <//>`;
}

/** The places of the two objectives that an address names, the first ones until the objectives are known. @param {string} text @param {string[]} metrics */
function placesOf(text, metrics) {
  if (!metrics.length) return [0, 1];
  const places = text.split(",").map((name) => metrics.indexOf(name));
  return places.length === 2 && places[0] !== places[1] && !places.includes(-1) ? places : undefined;
}

/** @param {import("../sweep_store.js").SweepStore} store @param {import("../documents").ParetoFront} found @param {number[]} axes */
function draw(store, found, [x, y]) {
  const ink = inks(), colours = stateColours(), arrow = (/** @type {number} */ i) => (found.directions[i] === "maximize" ? "higher is better" : "lower is better");
  const place = (/** @type {string} */ hue) => (/** @type {import("../documents").ParetoTrial} */ own) => ({ value: [own.values[x], own.values[y]], own,
    itemStyle: { color: hue, borderColor: store.picks.has(own.number) ? PICKED : "transparent", borderWidth: 3 } });
  const line = [...found.front].sort((a, b) => a.values[x] - b.values[x]);
  const scale = (/** @type {number} */ i, /** @type {number} */ gap) => {
    const values = [...found.front, ...found.others].map((own) => own.values[i]), low = Math.min(...values), high = Math.max(...values);
    return axis({ type: low > 0 && high / low > 100 ? "log" : "value", name: `${found.metrics[i]} (${arrow(i)})`, nameGap: gap, scale: true, axisLabel: { color: ink.quiet, formatter: short, hideOverlap: true } });
  };
  return {
    grid: { left: 76, right: 24, top: 36, bottom: 52 }, legend: { top: 0, right: 8, textStyle: { color: ink.text }, data: ["front", "beaten"] },
    tooltip: { formatter: (/** @type {any} */ p) => { const { own } = p.data, trial = store.trials.get(own.number); return `${found.metrics.map((m, i) => `${m} ${short(own.values[i])}`).join("\n")}${trial ? `\n${tellTrial(trial, found.metrics[0])}` : ""}`; } },
    xAxis: scale(x, 28), yAxis: scale(y, 50),
    series: [
      { type: "scatter", name: "beaten", emphasis: { scale: 1.7, itemStyle: { borderColor: ink.text, borderWidth: 2, opacity: 1 } }, symbolSize: 8, data: found.others.map(place(ink.quiet)), itemStyle: { color: ink.quiet, opacity: 0.6 } },
      { type: "line", name: "front", step: found.metrics.length > 2 ? undefined : found.directions[x] === "minimize" ? "end" : "start", symbolSize: 9, showSymbol: true, data: line.map(place(colours.succeeded)), lineStyle: { color: colours.succeeded, width: found.metrics.length > 2 ? 0 : 2 }, itemStyle: { color: colours.succeeded } },
    ],
  };
}
