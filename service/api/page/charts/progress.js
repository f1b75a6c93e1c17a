// The best objective so far over trials, time or device-hours, and when each trial ran.

import { echarts, html, useEffect, useMemo, useState } from "../lib.js";
import { useChoice } from "../address.js";
import { PICKED, shares, stateColours } from "../colours.js";
import { duration, point, short, when } from "../format.js";
import { hasResult, TRIAL_ENDED } from "../trials.js";
import { useWatched } from "../watched.js";
import { axis, Chart, inks } from "./chart.js";
import { useReport } from "./importance.js";
import { tellTrial } from "./plane.js";

/** @param {{store: import("../sweep_store.js").SweepStore}} props */
export function BestSoFar({ store }) {
  useWatched(store, store.picks);
  const [over, setOver] = useChoice("over", "trials", ["trials", "time", "hours"]);
  const sweep = /** @type {any} */ (store.sweep), { metric, direction } = sweep.objective;
  const { found, problem } = useReport(store, "best_so_far");
  const hours = new Map((found?.points ?? []).map((/** @type {any} */ p) => [p.number, p.device_hours]));
  const start = Date.parse(sweep.started_at ?? sweep.created_at);
  const rows = store.compared.filter((t) => TRIAL_ENDED.has(t.state) && t.ended_at).sort((a, b) => Date.parse(/** @type {string} */ (a.ended_at)) - Date.parse(/** @type {string} */ (b.ended_at)) || a.number - b.number);
  let best = /** @type {number | null} */ (null);
  const better = (/** @type {number} */ value) => best === null || (direction === "maximize" ? value > best : value < best);
  const points = rows.map((trial, place) => {
    if (hasResult(trial) && better(Number(trial.objective))) best = Number(trial.objective);
    const x = over === "trials" ? place + 1 : over === "time" ? (Date.parse(/** @type {string} */ (trial.ended_at)) - start) / 1000 : hours.get(trial.number);
    return { trial, x, best };
  }).filter((p) => p.x !== undefined);
  return html`<${Chart} hover=${store.hover} title="Best so far" size="tall" option=${points.some((p) => p.best !== null) ? drawBest(store, points, over, metric, direction, found?.device) : null} file=${`${store.id}-best-so-far`}
    label=${`The best ${metric} so far over ${over}; now ${best === null ? "none" : short(best)} after ${points.length} trials`} empty=${over === "hours" && !found ? problem || "Computing …" : store.orReading("No trial has ended with a result yet.")}
    onClick=${(/** @type {any} */ event) => { const trial = event.data?.trial; if (trial) store.picks.toggle(trial.number); }}
    table=${() => ({ heads: ["trial", over, metric, "best"], rows: points.map((p) => [p.trial.number, p.x, p.trial.objective, p.best]) })}>
    <label>Over <select value=${over} onChange=${(/** @type {any} */ e) => setOver(e.target.value)}>
      <option value="trials">ended trials</option><option value="time">time</option><option value="hours" disabled=${!hours.size}>device-hours</option></select></label>
  <//>`;
}

/** @param {import("../sweep_store.js").SweepStore} store @param {any[]} points @param {string} over @param {string} metric @param {string} direction @param {string} [device] */
function drawBest(store, points, over, metric, direction, device) {
  const ink = inks(), names = { trials: "ended trials", time: "seconds since the start", hours: `${device ?? "device"}-hours` };
  const placed = shares(points.filter((p) => hasResult(p.trial)).map((p) => p.trial.objective), direction, "linear"), steps = points.filter((p) => p.best !== null);
  const far = points.filter((p) => hasResult(p.trial) && (p.trial.objective < placed.low || p.trial.objective > placed.high)).length;
  return {
    grid: { left: 68, right: 20, top: 36, bottom: 52 },
    legend: { top: 0, right: 8, textStyle: { color: ink.text }, data: ["best so far", "each trial"] },
    tooltip: { formatter: (/** @type {any} */ p) => (p.data.trial ? tellTrial(p.data.trial, metric) : "") },
    xAxis: axis({ type: "value", name: /** @type {any} */ (names)[over], min: 0, max: "dataMax", axisLabel: { color: ink.quiet, formatter: short } }),
    yAxis: axis({ type: "value", name: `${metric}${far ? ` (${far} beyond)` : ""}`, nameGap: 50, scale: true, min: placed.low < placed.high ? placed.low : undefined, max: placed.low < placed.high ? placed.high : undefined, axisLabel: { color: ink.quiet, formatter: short } }),
    series: [
      { type: "line", name: "best so far", step: "end", showSymbol: false, data: steps.map((p) => ({ value: [p.x, p.best], trial: p.trial })), lineStyle: { color: ink.accent, width: 2.5 }, itemStyle: { color: ink.accent } },
      { type: "scatter", name: "each trial", emphasis: { scale: 1.7, itemStyle: { borderColor: ink.text, borderWidth: 2, opacity: 1 } }, symbolSize: (/** @type {any} */ _, /** @type {any} */ p) => (store.picks.has(p.data.trial.number) ? 13 : 7), data: points.filter((p) => hasResult(p.trial)).map((p) => ({ value: [p.x, p.trial.objective], trial: p.trial, itemStyle: store.picks.has(p.trial.number) ? { color: PICKED, opacity: 1 } : undefined })), itemStyle: { color: ink.quiet, opacity: 0.7 } },
    ],
  };
}

/** @param {{store: import("../sweep_store.js").SweepStore}} props */
export function Timeline({ store }) {
  const versions = useWatched(store, store.picks);
  const [library, setLibrary] = useState(/** @type {any} */ (null));
  useEffect(() => { echarts().then((found) => setLibrary(() => found)); }, []);
  const { bars, lanes } = useMemo(() => laned(store.rows), [versions]);
  return html`<${Chart} hover=${store.hover} title="Timeline" size="tall" option=${library && bars.length ? drawTimeline(store, bars, lanes, library) : null} file=${`${store.id}-timeline`}
    label=${`When ${bars.length} trials ran, in ${lanes} rows`} empty=${store.orReading("No trial has begun yet.")}
    onClick=${(/** @type {any} */ event) => { const trial = event.data?.trial; if (trial) store.picks.toggle(trial.number); }}
    table=${() => ({ heads: ["trial", "pack", "state", "started", "ended"], rows: bars.map((b) => [b.trial.number, b.trial.pack_id, b.trial.state, b.trial.started_at, b.trial.ended_at]) })}>
    <span class="legend">${Object.entries(stateColours()).filter(([state]) => bars.some((b) => b.trial.state === state)).map(([state, hue]) => html`<span key=${state}><i class="swatch" style=${{ background: hue }}></i>${state}</span>`)}</span>
    <span class="quiet">One row for each trial that ran at a time; trials of one pack are side by side.</span>
  <//>`;
}

/** Give each trial a row in which no other runs at the same time. @param {any[]} trials */
function laned(trials) {
  const now = Date.now(), free = /** @type {number[]} */ ([]);
  const bars = trials.filter((t) => t.started_at).map((trial) => ({ trial, from: Date.parse(trial.started_at), to: trial.ended_at ? Date.parse(trial.ended_at) : now, lane: 0 }));
  bars.sort((a, b) => a.from - b.from || String(a.trial.pack_id).localeCompare(String(b.trial.pack_id)) || a.trial.number - b.trial.number);
  for (const bar of bars) {
    let lane = free.findIndex((until) => until <= bar.from);
    if (lane < 0) lane = free.length;
    free[lane] = Math.max(bar.to, bar.from + 1);
    bar.lane = lane;
  }
  return { bars, lanes: free.length };
}

/** @param {import("../sweep_store.js").SweepStore} store @param {any[]} bars @param {number} lanes @param {any} library */
function drawTimeline(store, bars, lanes, library) {
  const ink = inks(), colours = stateColours();
  return {
    grid: { left: 24, right: 20, top: 12, bottom: 52 },
    tooltip: { formatter: (/** @type {any} */ p) => `trial ${p.data.trial.number}, ${p.data.trial.state}\n${point(p.data.trial.params)}\nfrom ${when(p.data.trial.started_at)}\nfor ${duration((p.value[2] - p.value[1]) / 1000)}\npack ${p.data.trial.pack_id ?? "-"}` },
    xAxis: axis({ type: "time", name: "time", splitLine: { show: true, lineStyle: { color: ink.line } } }),
    yAxis: { type: "value", min: -0.5, max: Math.max(lanes, 1) - 0.5, inverse: true, show: false },
    dataZoom: [{ type: "inside", filterMode: "weakFilter", zoomOnMouseWheel: "ctrl", moveOnMouseMove: false }],
    series: [{
      type: "custom", clip: true, encode: { x: [1, 2], y: 0 }, progressive: 1000,
      data: bars.map((bar) => ({ value: [bar.lane, bar.from, bar.to], trial: bar.trial })),
      renderItem: (/** @type {any} */ params, /** @type {any} */ api) => {
        const [x, y] = api.coord([api.value(1), api.value(0)]), end = api.coord([api.value(2), api.value(0)]);
        const height = Math.max(1, Math.min(22, api.size([0, 1])[1] * 0.8)), trial = bars[params.dataIndex].trial, area = params.coordSys;
        const shape = library.graphic.clipRectByRect({ x, y: y - height / 2, width: Math.max(2, end[0] - x), height }, { x: area.x, y: area.y, width: area.width, height: area.height });
        const chosen = store.picks.has(trial.number);
        return shape && { type: "rect", shape: { ...shape, r: height > 6 ? 3 : 0 }, style: { fill: colours[trial.state], stroke: chosen ? PICKED : ink.card, lineWidth: chosen ? 3 : 0.5 }, emphasis: { style: { fill: colours[trial.state], stroke: ink.text, lineWidth: 2 } } };
      },
    }],
  };
}
