// How much each swept field matters, as the report computes it.

import { html, useEffect, useState } from "../lib.js";
import { ask } from "../api.js";
import { leaf } from "../format.js";
import { useWatched } from "../watched.js";
import { axis, Chart, inks } from "./chart.js";

/** Read a part of the report, and again, at most every ten seconds, when further trials have ended.
 * @param {import("../sweep_store.js").SweepStore} store @param {string} part */
export function useReport(store, part) {
  useWatched(store);
  const [found, setFound] = useState(/** @type {any} */ (null)), [problem, setProblem] = useState("");
  const turn = Math.floor(Date.now() / 10000), ends = store.ended ? "ended" : store.ends && `${store.ends} ${turn}`;
  useEffect(() => {
    let over = false;
    ask(`/v1/sweeps/${store.id}/report?include=${part}`).then((report) => { if (!over) { setFound(report[part]); setProblem(""); } },
      (error) => { if (!over) setProblem(error.message); });
    return () => { over = true; };
  }, [store.id, ends]);
  return { found, problem };
}

/** @param {{store: import("../sweep_store.js").SweepStore}} props */
export function Importance({ store }) {
  const { found, problem } = useReport(store, "importance");
  const fields = found?.fields ?? [];
  return html`<${Chart} title="Importance" option=${fields.length ? draw(fields) : null} file=${`${store.id}-importance`}
    label=${`Importance of ${fields.map((/** @type {any} */ f) => `${leaf(f.path)} ${Math.round(100 * f.share)} %`).join(", ")}`}
    empty=${problem || (found ? found.notes.join(" ") : "Computing …")}
    table=${() => ({ heads: ["field", "share", "trials"], rows: fields.map((/** @type {any} */ f) => [f.path, f.share, f.trials]) })}>
    <span class="quiet">How much each field decides whether a trial is among the best${found?.trials ? `, from ${found.trials} trials` : ""}.</span>
  <//>
  ${fields.length ? found.notes.map((/** @type {string} */ note) => html`<p class="quiet" key=${note}>${note}</p>`) : null}`;
}

/** @param {any[]} fields */
function draw(fields) {
  const ink = inks(), shown = [...fields].reverse();
  return {
    grid: { left: 140, right: 60, top: 12, bottom: 48 },
    tooltip: { formatter: (/** @type {any} */ p) => `${p.name}\n${(100 * p.value).toFixed(1)} %` },
    xAxis: axis({ type: "value", name: "share of all importance", min: 0, max: 1, axisLabel: { color: ink.quiet, formatter: (/** @type {number} */ v) => `${Math.round(100 * v)} %` } }),
    yAxis: axis({ type: "category", data: shown.map((f) => leaf(f.path)), axisLabel: { color: ink.text, width: 124, overflow: "truncate" }, splitLine: { show: false } }),
    series: [{ type: "bar", data: shown.map((f) => f.share), barMaxWidth: 22, itemStyle: { color: ink.accent, borderRadius: [0, 3, 3, 0] }, label: { show: true, position: "right", color: ink.text, formatter: (/** @type {any} */ p) => `${(100 * p.value).toFixed(0)} %` } }],
  };
}
