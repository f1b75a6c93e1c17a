// The table of a sweep's trials. Only the rows that are in sight are in the document, however many trials there are.

import { Component, html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../lib.js";
import { useChoice, useChoices, useParameter, useSwitch } from "../address.js";
import { colour } from "../colours.js";
import { aligned, counted, duration, leaf, point, pointed, short } from "../format.js";
import { PointComparisons, pointColumns, pointRows, savePoints, usePoints } from "./points.js";
import { trialLink } from "./trial_links.js";
import { Reason, State } from "../pieces.js";
import { byRank, hasRepeats, hasResult, paths, pointKey, spread } from "../trials.js";
import { useWatched } from "../watched.js";

/** @typedef {import("../documents").TrialView} TrialView */
/** @typedef {{key: string, trial: TrialView, members: TrialView[], rank: number | null, mean: number | null, sd: number | null, point?: import("../documents").PointView}} Row */
/** @typedef {{key: string, name: string, title: string, number: boolean, value: (row: Row) => any, cell: (row: Row) => any, text?: (row: Row) => string, width?: number}} Column */

const HEIGHT = 34, BEYOND = 8;
const STATES = ["waiting", "running", "succeeded", "pruned", "failed", "cancelled"];

/** @param {{store: import("../sweep_store.js").SweepStore, tall?: boolean}} props */
export function TrialsTable({ store, tall }) {
  const version = useWatched(store, store.picks);
  const sweep = /** @type {import("../documents").SweepView} */ (store.sweep);
  const repeated = Number(sweep.spec.repeats ?? 1) > 1, [together, setTogether] = useSwitch("points", repeated);
  const [text, setText] = useParameter("find", "", String, String), [states, setStates] = useChoices("states", [], STATES);
  const found = usePoints(store, repeated && together), points = repeated && together ? found?.points ?? [] : null;
  const all = useMemo(() => (points ? pointRows(store, points) : rowsOf(store, together)), [version, together, found]);
  const columns = useMemo(() => columnsOf(store, all, together, found?.statistic ?? "mean"), [all]);
  const orders = store.complete && (!points || found) ? columns.flatMap(({ key }) => [key, `-${key}`]) : null, [order, setOrder] = useChoice("sort", "rank", orders);
  const sort = useMemo(() => ({ key: order.replace(/^-/, ""), up: !order.startsWith("-") }), [order]);
  const shown = useMemo(() => arranged(all, columns, sort, text, states), [all, columns, sort, text, states]);
  const counts = useMemo(() => tallied(store.compared), [version]);
  const total = sweep.trials.total;
  const byState = (/** @type {string} */ state) => setStates(states.includes(state) ? states.filter((s) => s !== state) : [...states, state]);
  return html`<section class="card" aria-label="Trials">
    <div class="card-head"><h2>Trials</h2>
      <div class="controls">
        <input type="search" placeholder="reflectors 16, lr 0.01" aria-label="Filter trials by text" value=${text} onInput=${(/** @type {any} */ e) => setText(e.target.value)} />
        <div class="segments" role="group" aria-label="Filter trials by state">${STATES.filter((state) => counts[state]).map((state) => html`
          <button key=${state} aria-pressed=${states.includes(state)} onClick=${() => byState(state)}><${State} name=${state} /> ${counts[state]}</button>`)}</div>
        ${hasRepeats(sweep) ? html`<label><input type="checkbox" checked=${together} onChange=${(/** @type {any} */ e) => setTogether(e.target.checked)} /> ${repeated ? "points" : "mean over seeds"}</label>` : null}
      </div>
      <span class="quiet count" role="status">${together ? `${shown.length} points of ${counted(all.length, "point")}` : `${shown.length} of ${counted(total, "trial")}`}${store.rows.length < total && !store.ended ? `, ${total - store.rows.length} not created yet` : ""}${store.complete && (!points || found) ? "" : ", reading …"}${points && found?.more ? ", and more" : ""}</span>
      <div class="downloads">${points && found ? html`<button class="plain" title="Download the points as CSV" onClick=${() => savePoints(store, points, found.statistic)}>CSV</button>`
        : html`<a class="button plain" title="Download the trials as CSV" href=${`/v1/sweeps/${store.id}/trials.csv`} download>CSV</a>`}</div>
    </div>
    ${points && found ? html`<${PointComparisons} store=${store} points=${points} />` : null}
    <${Grid} store=${store} rows=${shown} columns=${columns} sort=${sort} setSort=${(/** @type {{key: string, up: boolean}} */ next) => setOrder(`${next.up ? "" : "-"}${next.key}`)} tall=${tall} />
  </section>`;
}

/** @param {TrialView[]} trials @returns {Record<string, number>} */
function tallied(trials) {
  /** @type {Record<string, number>} */ const counts = {};
  for (const trial of trials) counts[trial.state] = (counts[trial.state] ?? 0) + 1;
  return counts;
}

/** @param {import("../sweep_store.js").SweepStore} store @param {boolean} together @returns {Row[]} */
function rowsOf(store, together) {
  const sweep = /** @type {any} */ (store.sweep), order = byRank(sweep.objective.direction);
  if (!together) return [...store.compared].sort(order).map((trial, place) => ({ key: trial.id, trial, members: [trial], rank: hasResult(trial) ? place + 1 : null, mean: trial.objective, sd: null }));
  /** @type {Map<string, TrialView[]>} */ const groups = new Map();
  for (const trial of store.compared) groups.set(pointKey(sweep, trial), [...groups.get(pointKey(sweep, trial)) ?? [], trial]);
  const rows = [...groups].map(([key, members]) => {
    members.sort(order);
    const results = members.filter(hasResult).map((t) => Number(t.objective)), found = results.length ? spread(results) : null;
    return { key, trial: members[0], members, rank: /** @type {number | null} */ (null), mean: found ? found.mean : null, sd: found ? found.sd : null };
  });
  const sign = sweep.objective.direction === "maximize" ? -1 : 1;
  rows.sort((a, b) => (a.mean === null ? 1 : 0) - (b.mean === null ? 1 : 0) || sign * (Number(a.mean) - Number(b.mean)));
  rows.forEach((row, place) => { row.rank = row.mean === null ? null : place + 1; });
  return rows;
}

/** @param {import("../sweep_store.js").SweepStore} store @param {Row[]} rows @param {boolean} together @param {string} statistic @returns {Column[]} */
function columnsOf(store, rows, together, statistic) {
  const sweep = /** @type {any} */ (store.sweep), { metric } = sweep.objective;
  const write = aligned(rows.filter((row) => row.mean !== null).map((row) => Number(row.mean)));
  const swept = paths(sweep, rows.map((row) => row.trial)).filter((path) => !(together && path === "training.seed"));
  /** @type {Column} */ const rank = { key: "rank", name: "rank", title: "Place in the order of the objective", number: true, value: (row) => row.rank ?? Infinity, cell: (row) => row.rank ?? "" };
  const fields = swept.map((path) => {
    const numbers = rows.map((row) => row.trial.params[path]).filter((v) => typeof v === "number");
    const number = numbers.length > 0, same = pointed(numbers);
    return { key: path, name: leaf(path), title: path, number, value: (/** @type {Row} */ row) => row.trial.params[path],
      cell: (/** @type {Row} */ row) => { const value = row.trial.params[path]; return typeof value === "number" ? same(value) : short(value); } };
  });
  const own = rows[0]?.point ? pointColumns(rows, metric, statistic) : null;
  /** @type {Column[]} */ const columns = own ? [rank, ...own.before, ...fields, ...own.after] : [
    rank,
    { key: "number", name: "trial", title: "The trial's number", number: true, value: (row) => row.trial.number, text: (row) => String(row.trial.number), cell: (row) => trialLink(row.trial, together ? row.members.length : 1) },
    { key: "state", name: "state", title: "The trial's state", number: false, value: (row) => STATES.indexOf(row.trial.state), text: (row) => `${row.trial.state}    `, cell: (row) => html`<${State} name=${row.trial.state} wanted=${row.trial.wanted} />` },
    { key: "objective", name: together ? `${metric} (mean)` : metric, title: `The best ${metric}`, number: true, value: (row) => row.mean, cell: (row) => (row.mean === null ? "" : write(row.mean)) },
    ...together ? [{ key: "sd", name: "± sd", title: "Standard deviation over the seeds", number: true, value: (/** @type {Row} */ row) => row.sd, cell: (/** @type {Row} */ row) => (row.sd === null ? "" : write(row.sd)) }] : [],
    ...fields,
    { key: "step", name: "step", title: "The highest step that was reported", number: true, value: (row) => row.trial.step, cell: (row) => short(row.trial.step) },
    { key: "time", name: "time", title: "From its start to its end", number: true, value: seconds, cell: (row) => duration(seconds(row) ?? NaN), width: 9 },
    { key: "reason", name: "reason", title: "Why it ended, failed or waits", number: false, value: (row) => row.trial.reason ?? row.trial.waiting_for ?? "", width: 20,
      cell: (row) => (row.trial.reason ? html`<${Reason} text=${row.trial.reason} label=${`Trial ${row.trial.number}`} /> <span class="quiet">${row.trial.reason}</span>` : row.trial.waiting_for ? html`<span class="quiet" title=${row.trial.waiting_for}>${row.trial.waiting_for}</span>` : "") },
  ];
  for (const column of columns) column.width ??= widthOf(column, rows);
  return columns;
}

/** @param {Row} row */
function seconds({ trial }) {
  if (!trial.started_at) return null;
  return ((trial.ended_at ? Date.parse(trial.ended_at) : Date.now()) - Date.parse(trial.started_at)) / 1000;
}

/** The width of a column in letters, from some of its cells. @param {Column} column @param {Row[]} rows */
function widthOf(column, rows) {
  const stride = Math.max(1, Math.floor(rows.length / 200));
  let most = column.name.length + 2;
  for (let i = 0; i < rows.length; i += stride) most = Math.max(most, (column.text ?? ((row) => String(column.cell(row))))(rows[i]).length);
  return Math.min(28, most + 1);
}

/** @param {Row[]} rows @param {Column[]} columns @param {{key: string, up: boolean}} sort @param {string} text @param {string[]} states */
function arranged(rows, columns, sort, text, states) {
  const phrases = text.toLowerCase().split(",").map((phrase) => phrase.trim()).filter(Boolean);
  const found = rows.filter((row) => (!states.length || row.members.some((t) => states.includes(t.state)))
    && (!phrases.length || matches(`#${row.trial.number}, ${row.trial.state}, ${point(row.trial.params)}, ${row.trial.reason ?? ""}`.toLowerCase(), phrases)));
  const column = columns.find((one) => one.key === sort.key) ?? columns[0], sign = sort.up ? 1 : -1;
  if (column.key === "rank" && sort.up) return found;
  return [...found].sort((a, b) => {
    const [left, right] = [column.value(a), column.value(b)], [none, other] = [left, right].map((v) => v === null || v === undefined || v === Infinity || v === "");
    if (none || other) return Number(none) - Number(other) || a.trial.number - b.trial.number;
    return sign * (typeof left === "number" && typeof right === "number" ? left - right : String(left).localeCompare(String(right))) || a.trial.number - b.trial.number;
  });
}

/** Whether a text has all phrases; a phrase that ends with a digit ends a number, so that 0.01 is not found in 0.012.
 * @param {string} own @param {string[]} phrases */
const matches = (own, phrases) => phrases.every((phrase) => {
  for (let at = own.indexOf(phrase); at >= 0; at = own.indexOf(phrase, at + 1)) {
    if (!/\d$/.test(phrase) || !/[\d.]/.test(own[at + phrase.length] ?? "")) return true;
  }
  return false;
});

/** One row, which is drawn again only if something of it has changed, and not because another one came in sight. */
class Line extends Component {
  /** @param {any} next */
  shouldComponentUpdate(next) {
    const { row, columns, place, active, hue } = this.props;
    return row !== next.row || columns !== next.columns || place !== next.place || active !== next.active || hue !== next.hue;
  }

  render() {
    const { row, columns, place, active, hue, pick } = this.props;
    return html`<tr data-number=${row.trial.number} aria-rowindex=${place + 2} class=${`${hue ? "picked" : ""} ${active ? "active" : ""}`}>
      <td><label class="pick"><input type="checkbox" tabindex="-1" aria-label=${`Pick trial ${row.trial.number}`} checked=${hue !== ""} onChange=${() => pick(row)} />
        <i class="swatch" style=${{ background: hue || "transparent" }}></i></label></td>
      ${columns.map((/** @type {Column} */ column) => html`<td key=${column.key} class=${column.number ? "number" : ""}>${column.cell(row)}</td>`)}</tr>`;
  }
}

/** @param {{store: import("../sweep_store.js").SweepStore, rows: Row[], columns: Column[], sort: {key: string, up: boolean}, setSort: (sort: {key: string, up: boolean}) => void, tall?: boolean}} props */
function Grid({ store, rows, columns, sort, setSort, tall }) {
  const frame = useRef(/** @type {any} */ (null)), [range, setRange] = useState({ first: 0, last: 40 }), [active, setActive] = useState(0);
  const look = () => {
    if (!frame.current) return;
    const { scrollTop, clientHeight } = frame.current, first = Math.max(0, Math.floor(scrollTop / HEIGHT) - BEYOND), last = Math.ceil((scrollTop + clientHeight) / HEIGHT) + BEYOND;
    setRange((before) => (before.first === first && before.last === last ? before : { first, last }));
  };
  useLayoutEffect(look, [rows.length]);
  useEffect(() => {
    const watcher = new ResizeObserver(look);
    watcher.observe(frame.current);
    return () => watcher.disconnect();
  }, []);
  const last = Math.min(rows.length, range.last), first = Math.min(range.first, Math.max(0, last - 1)), some = rows.slice(first, last);
  const picked = (/** @type {Row} */ row) => row.members.every((t) => store.picks.has(t.number));
  const pick = (/** @type {Row} */ row) => store.picks.set(row.members.map((t) => t.number), !picked(row));
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const moves = /** @type {Record<string, number>} */ ({ ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -rows.length, End: rows.length });
    if (event.target instanceof HTMLElement && event.target.closest("button, a, input") && event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    if (event.key in moves) {
      event.preventDefault();
      const next = Math.max(0, Math.min(rows.length - 1, active + moves[event.key]));
      setActive(next);
      point(rows[next]);
      const top = next * HEIGHT, { scrollTop, clientHeight } = frame.current;
      if (top < scrollTop) frame.current.scrollTop = top;
      else if (top + 2 * HEIGHT > scrollTop + clientHeight) frame.current.scrollTop = top + 2 * HEIGHT - clientHeight;
    } else if (event.key === " " && rows[active]) { event.preventDefault(); pick(rows[active]); }
    else if (event.key === "Enter" && rows[active]) location.hash = `#/trials/${rows[active].trial.id}`;
  };
  // the trials that the pointer or the arrow keys are on stand out in the charts, and those of the charts here
  const point = (/** @type {Row | undefined} */ row) => store.hover.set(row ? row.members.map((t) => t.number) : [], frame);
  const over = (/** @type {Event} */ event) => { const line = /** @type {Element} */ (event.target).closest("tr[data-number]"); point(line ? rows[Number(line.getAttribute("aria-rowindex")) - 2] : undefined); };
  useEffect(() => store.hover.listen((numbers, from) => {
    for (const line of frame.current?.querySelectorAll("tr[data-number]") ?? []) line.classList.toggle("hovered", from !== frame && rows[Number(line.getAttribute("aria-rowindex")) - 2]?.members.some((t) => numbers.includes(t.number)));
  }), [store, rows]);
  useEffect(() => () => store.hover.set([], frame), [store]);
  const every = rows.length > 0 && rows.slice(0, 50).every(picked);
  return html`<div class=${`table-frame ${tall ? "tall" : ""}`} ref=${frame} onScroll=${look} tabindex="0" onKeyDown=${onKey} onMouseOver=${over} onMouseLeave=${() => point(undefined)} onFocusOut=${() => point(undefined)} role="group" aria-label="Trials; arrow keys move, space picks, enter opens">
    <table class="data" aria-rowcount=${rows.length + 1} style=${{ minWidth: `calc(3.2rem + ${columns.reduce((sum, column) => sum + (column.width ?? 10) + 2, 0)}ch)` }}>
      <colgroup><col style=${{ width: "3.2rem" }} />${columns.map((column) => html`<col key=${column.key} style=${column.key === "reason" ? {} : { width: `${(column.width ?? 10) + 2}ch` }} />`)}</colgroup>
      <thead><tr>
        <th scope="col"><input type="checkbox" aria-label="Pick the first 50 rows" checked=${every} onChange=${() => store.picks.set(rows.slice(0, 50).flatMap((row) => row.members.map((t) => t.number)), !every)} /></th>
        ${columns.map((column) => html`<th key=${column.key} scope="col" class=${column.number ? "number" : ""} aria-sort=${sort.key === column.key ? (sort.up ? "ascending" : "descending") : "none"}>
          <button class="head" title=${column.title} onClick=${() => setSort({ key: column.key, up: sort.key === column.key ? !sort.up : true })}>${column.name}<span aria-hidden="true">${sort.key === column.key ? (sort.up ? " ↑" : " ↓") : ""}</span></button></th>`)}</tr></thead>
      <tbody>
        ${first ? html`<tr key="above" class="space" aria-hidden="true"><td colspan=${columns.length + 1} style=${{ height: `${first * HEIGHT}px` }}></td></tr>` : null}
        ${some.map((row, place) => html`<${Line} key=${row.key} row=${row} columns=${columns} place=${first + place} active=${first + place === active}
          hue=${picked(row) ? colour(store.picks.places.get(row.trial.number) ?? 0) : ""} pick=${pick} />`)}
        ${last < rows.length ? html`<tr key="below" class="space" aria-hidden="true"><td colspan=${columns.length + 1} style=${{ height: `${(rows.length - last) * HEIGHT}px` }}></td></tr>` : null}
      </tbody></table>
    ${rows.length ? null : html`<p class="quiet empty">No trial matches.</p>`}
  </div>`;
}
