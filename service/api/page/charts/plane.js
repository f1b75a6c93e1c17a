// The objective over two swept fields: a heatmap where they have few values, else a scatter plot.

import { html, useMemo } from "../lib.js";
import { useChoice } from "../address.js";
import { ink as inkOn, PICKED, SCALE, shares } from "../colours.js";
import { leaf, short } from "../format.js";
import { axisOf, byRank, hasResult, paths, spread, TRIAL_ENDED } from "../trials.js";
import { useWatched } from "../watched.js";
import { axis, Chart, inks } from "./chart.js";

/** @typedef {import("../documents").TrialView} TrialView */
/** @typedef {{x: number, y: number, trials: TrialView[], value: number | null, best: TrialView | null, why: string}} Cell */

const MOST = 24;
const COLOURINGS = ["linear", "rank", "log"];

/** The axes that are shown first: margin and reflectors if they are swept, else the first two fields. @param {string[]} swept */
function firstAxes(swept) {
  const fields = swept.filter((path) => path !== "training.seed" && !path.startsWith("task."));
  const y = fields.find((path) => path.startsWith("model.reflectors")) ?? fields.find((path) => path !== "model.margin");
  const x = fields.includes("model.margin") ? "model.margin" : fields.find((path) => path !== y);
  return [x ?? swept[0], y ?? swept.find((path) => path !== (x ?? swept[0])) ?? ""];
}

/** @param {{store: import("../sweep_store.js").SweepStore, size?: string}} props */
export function Plane({ store, size }) {
  const versions = useWatched(store, store.picks);
  const sweep = /** @type {import("../documents").SweepView} */ (store.sweep), { metric, direction } = sweep.objective;
  const trials = store.compared, swept = paths(sweep, trials), [firstX, firstY] = firstAxes(swept);
  const [xPath, setX] = useChoice("x", firstX, store.complete ? swept : null), others = swept.filter((path) => path !== xPath);
  const [yPath, setY] = useChoice("y", [firstY, firstX, ""].find((path) => path === "" || others.includes(path)) || (others[0] ?? ""), store.complete ? others : null);
  const [how, setHow] = useChoice("colours", "linear", COLOURINGS), [shown, setShown] = useChoice("cells", Number(sweep.spec.repeats ?? 1) > 1 ? "mean" : "best", ["best", "mean"]);
  const drawn = useMemo(() => {
    if (!swept.length || !trials.length) return null;
    const x = axisOf(sweep, xPath, trials), y = yPath ? axisOf(sweep, yPath, trials) : null;
    return { x, y, grid: [x, y].every((one) => !one || (one.values.length <= MOST && !drawnFrom(sweep, one))) };
  }, [versions, xPath, yPath, store.group]);
  const made = drawn ? (drawn.grid || !drawn.y ? heatmap : scatter)(store, drawn, { metric, direction, how, shown }) : null;
  const options = (/** @type {string} */ other) => swept.filter((path) => path !== other).map((path) => html`<option key=${path} value=${path}>${leaf(path)}</option>`);
  const title = `${yPath ? `${leaf(yPath)} × ` : ""}${leaf(xPath ?? "")}`;
  return html`<${Chart} hover=${store.hover} title=${`${metric}: ${title}`} size=${size} option=${made?.option ?? null} file=${`${store.id}-plane`}
    label=${`${shown} ${metric} by ${title}. ${made?.label ?? ""}`} onClick=${(/** @type {any} */ event) => made?.pick(event)}
    empty=${store.orReading("No trial has a result yet.")} table=${() => made?.table() ?? { heads: [], rows: [] }}>
    <label>y <select value=${yPath} onChange=${(/** @type {any} */ e) => setY(e.target.value)}>${options(xPath)}</select></label>
    <label>x <select value=${xPath} onChange=${(/** @type {any} */ e) => setX(e.target.value)}>${options(yPath)}</select></label>
    ${drawn?.grid ? html`<label>Cells <select value=${shown} onChange=${(/** @type {any} */ e) => setShown(e.target.value)}>
      <option value="best">best</option><option value="mean">mean</option></select></label>` : null}
    <label>Colours <select value=${how} onChange=${(/** @type {any} */ e) => setHow(e.target.value)}>
      <option value="linear">robust</option><option value="rank">by rank</option><option value="log">log</option></select></label>
    ${made?.clipped ? html`<span class="quiet">${made.clipped} beyond the colours</span>` : null}
  <//>`;
}

/** Whether a sampler draws the values of a field from a range of numbers, so that hardly two trials have the same.
 * @param {import("../documents").SweepView} sweep @param {ReturnType<typeof axisOf>} one */
function drawnFrom(sweep, one) {
  const range = sweep.spec.space?.[one.path];
  return sweep.spec.search?.sampler !== "grid" && one.values.length > 2 && typeof range?.low === "number" && !range.step && !one.values.every(Number.isInteger);
}

/** Why a cell has no value. @param {TrialView[]} trials */
function whyEmpty(trials) {
  if (!trials.length) return "no trial";
  if (trials.some((trial) => !TRIAL_ENDED.has(trial.state))) return "open";
  if (trials.some((trial) => trial.state === "failed")) return trials.some((t) => /\b(nan|inf|finite)\b/i.test(t.reason ?? "")) ? "not finite" : "failed";
  return "cancelled";
}

/** @param {import("../sweep_store.js").SweepStore} store @param {any} axes @param {any} how */
function heatmap(store, { x, y }, { metric, direction, how, shown }) {
  /** @type {Map<string, TrialView[]>} */ const at = new Map();
  for (const trial of store.compared) {
    const key = `${x.values.indexOf(trial.params[x.path])},${y ? y.values.indexOf(trial.params[y.path]) : 0}`;
    at.set(key, [...at.get(key) ?? [], trial]);
  }
  /** @type {Cell[]} */ const cells = [];
  for (let i = 0; i < x.values.length; i += 1) for (let j = 0; j < (y?.values.length ?? 1); j += 1) {
    const trials = (at.get(`${i},${j}`) ?? []).sort(byRank(direction)), results = trials.filter(hasResult);
    const value = results.length ? (shown === "mean" ? spread(results.map((t) => Number(t.objective))).mean : Number(results[0].objective)) : null;
    cells.push({ x: i, y: j, trials, value, best: results[0] ?? null, why: whyEmpty(trials) });
  }
  const known = cells.filter((cell) => cell.value !== null);
  if (!store.compared.length) return null;
  const placed = shares(known.map((cell) => Number(cell.value)), direction, how), ink = inks(), narrow = x.values.length > 9;
  const data = known.map((cell) => ({ value: [cell.x, cell.y, placed.of(Number(cell.value))], cell, label: { color: inkOn(placed.of(Number(cell.value))) } }));
  const marked = cells.filter((cell) => cell.trials.some((t) => store.picks.has(t.number))).map((cell) => ({ value: [cell.x, cell.y, 0], cell }));
  const blank = cells.filter((cell) => cell.value === null).map((cell) => ({ value: [cell.x, cell.y, 0], cell, itemStyle: { color: ink.paper } }));
  const option = {
    grid: { left: 72, right: 96, top: 16, bottom: 52 }, visualMap: colourBar(ink, placed, 2),
    tooltip: { formatter: (/** @type {any} */ p) => describe(p.data.cell, x, y, metric) },
    xAxis: axis({ type: "category", name: x.name, data: x.values.map(short), splitLine: { show: false }, axisTick: { show: false } }),
    yAxis: axis({ type: "category", name: y?.name ?? "", nameGap: 44, data: y ? y.values.map(short) : [""], splitLine: { show: false }, axisTick: { show: false } }),
    series: [
      { type: "heatmap", data, label: { show: !narrow, fontSize: 12, formatter: (/** @type {any} */ p) => short(p.data.cell.value) }, itemStyle: { borderColor: ink.card, borderWidth: 1 }, emphasis: { itemStyle: { borderColor: ink.text, borderWidth: 2 } } },
      { type: "heatmap", data: blank, label: { show: true, color: ink.quiet, fontSize: narrow ? 10 : 11, overflow: "break", formatter: (/** @type {any} */ p) => p.data.cell.why }, itemStyle: { borderColor: ink.line, borderWidth: 1 } },
      { type: "heatmap", data: marked, z: 6, silent: true, itemStyle: { color: "transparent", borderColor: PICKED, borderWidth: 3 } },
    ],
  };
  return {
    option, clipped: how === "rank" ? 0 : placed.clipped,
    label: `${known.length} of ${cells.length} cells have a value.`,
    pick: (/** @type {any} */ event) => toggle(store, event.data.cell.trials),
    table: () => ({ heads: [y?.path ?? "", x.path, "trials", "results", "best", "mean", "sd", "without a result"], rows: cells.map((cell) => {
      const results = cell.trials.filter(hasResult).map((t) => Number(t.objective)), found = results.length ? spread(results) : null;
      return [y?.values[cell.y], x.values[cell.x], cell.trials.length, results.length, cell.best?.objective, found?.mean, found?.sd, results.length ? "" : cell.why];
    }) }),
  };
}

/** @param {import("../sweep_store.js").SweepStore} store @param {any} axes @param {any} how */
function scatter(store, { x, y }, { metric, direction, how }) {
  const found = store.compared.filter((t) => t.params[x.path] !== undefined && t.params[y.path] !== undefined), results = found.filter(hasResult);
  if (!found.length) return null;
  const placed = shares(results.map((t) => Number(t.objective)), direction, how), ink = inks();
  const place = (/** @type {TrialView} */ t) => [x.numeric ? t.params[x.path] : short(t.params[x.path]), y.numeric ? t.params[y.path] : short(t.params[y.path])];
  const own = (/** @type {any} */ one, /** @type {number} */ gap) => axis(one.numeric
    ? { type: one.log ? "log" : "value", name: one.name, nameGap: gap, scale: true, ...ends(one), axisLabel: { color: ink.quiet, formatter: short, hideOverlap: true, showMinLabel: Boolean(marks(one)), showMaxLabel: Boolean(marks(one)), customValues: marks(one) }, axisTick: { lineStyle: { color: ink.line }, customValues: marks(one) } }
    : { type: "category", name: one.name, nameGap: gap, data: one.values.map(short) });
  const option = {
    grid: { left: 72, right: 96, top: 16, bottom: 52 }, visualMap: colourBar(ink, placed, 2),
    tooltip: { formatter: (/** @type {any} */ p) => tellTrial(p.data.trial, metric) },
    xAxis: own(x, 28), yAxis: own(y, 44),
    series: [
      { type: "scatter", emphasis: { scale: 1.7, itemStyle: { borderColor: ink.text, borderWidth: 2, opacity: 1 } }, symbolSize: (/** @type {any} */ _, /** @type {any} */ p) => (store.picks.has(p.data.trial.number) ? 15 : 10),
        data: results.map((trial) => ({ value: [...place(trial), placed.of(Number(trial.objective))], trial,
          itemStyle: { borderColor: store.picks.has(trial.number) ? PICKED : ink.quiet, borderWidth: store.picks.has(trial.number) ? 3 : 0.5 } })) },
      { type: "scatter", symbol: "path://M0,0L8,8M8,0L0,8", symbolSize: 7, data: found.filter((t) => !hasResult(t)).map((trial) => ({ value: [...place(trial), 0], trial })), itemStyle: { color: "transparent", borderColor: ink.quiet, borderWidth: 1.2 } },
    ],
  };
  return {
    option, clipped: how === "rank" ? 0 : placed.clipped, label: `${results.length} of ${found.length} trials have a result; crosses have none.`,
    pick: (/** @type {any} */ event) => store.picks.toggle(event.data.trial.number),
    table: () => ({ heads: ["trial", y.path, x.path, metric, "state"], rows: found.map((t) => [t.number, t.params[y.path], t.params[x.path], t.objective, t.state]) }),
  };
}

/** The ends of an axis, a little beyond its values. @param {any} one */
export function ends(one) {
  const low = one.values[0], high = one.values[one.values.length - 1];
  if (low === high) return {};
  if (one.log) return { min: low / (high / low) ** 0.03, max: high * (high / low) ** 0.03 };
  return { min: low - 0.03 * (high - low), max: high + 0.03 * (high - low) };
}

/** The values at which a short logarithmic axis is marked: 1, 2 and 5 times powers of ten. A long one has its powers of ten. @param {any} one */
export function marks(one) {
  const low = one.values[0], high = one.values[one.values.length - 1], found = [];
  if (!one.log || high / low >= 200) return undefined;
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const times of [1, 2, 5]) found.push(Number(`${times}e${power}`));
  }
  const within = found.filter((value) => value >= low && value <= high);
  return within.length > 1 ? within : undefined;
}

/** The colour bar of an objective, with its best end at the top. @param {any} ink @param {any} placed @param {number} dimension */
export const colourBar = (ink, placed, dimension) => ({
  type: "continuous", min: 0, max: 1, dimension, seriesIndex: 0, calculable: true, right: 4, top: "middle", itemHeight: 150, itemWidth: 12, precision: 2,
  inRange: { color: SCALE }, textStyle: { color: ink.quiet, fontSize: 11 }, formatter: (/** @type {number} */ share) => short(placed.value(share)),
  text: ["best", "worst"], textGap: 6, show: Number.isFinite(placed.low),
});

/** @param {import("../sweep_store.js").SweepStore} store @param {TrialView[]} trials */
function toggle(store, trials) {
  const numbers = trials.map((trial) => trial.number), all = numbers.every((number) => store.picks.has(number));
  store.picks.set(numbers.slice(0, 50), !all);
}

/** @param {Cell} cell @param {any} x @param {any} y @param {string} metric */
function describe(cell, x, y, metric) {
  const results = cell.trials.filter(hasResult), found = results.length ? spread(results.map((t) => Number(t.objective))) : null;
  return [
    [y && `${y.name} ${short(y.values[cell.y])}`, `${x.name} ${short(x.values[cell.x])}`].filter(Boolean).join(", "),
    cell.best ? `best ${metric} ${short(cell.best.objective)} (trial ${cell.best.number})` : `no result: ${cell.why}`,
    found && found.n > 1 ? `mean ${short(found.mean)} ± ${short(found.sd)} of ${found.n}` : "",
    results.length < cell.trials.length ? `${cell.trials.length - results.length} of ${cell.trials.length} without a result` : "",
  ].filter(Boolean).join("\n");
}

/** @param {TrialView} trial @param {string} metric */
export function tellTrial(trial, metric) {
  return [`trial ${trial.number}, ${trial.state}`, trial.objective === null ? "no result" : `${metric} ${short(trial.objective)} at step ${trial.best_step ?? trial.step}`,
    ...Object.entries(trial.params).slice(0, 12).map(([path, value]) => `${leaf(path)} ${short(value)}`)].join("\n");
}
