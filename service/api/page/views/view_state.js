// What the views of a sweep share, in the address: the picked trials and the data set whose trials are compared.

import { html, useEffect, useRef, useState } from "../lib.js";
import { address, useArrivals, useChoice } from "../address.js";
import { colour } from "../colours.js";
import { counted } from "../format.js";
import { useWatched } from "../watched.js";

/** @typedef {import("../sweep_store.js").SweepStore} SweepStore */

const MOST_PICKS = 2000;

/** Numbers with commas between, where `3-7` stands for those from 3 to 7, and what is no such text or holds too many. @param {string} text */
function numbersIn(text) {
  /** @type {number[]} */ const numbers = [], /** @type {string[]} */ wrong = [];
  for (const part of text.split(",").filter(Boolean)) {
    const found = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(part), first = Number(found?.[1]), last = Number(found?.[2] ?? first);
    if (!found || last < first) wrong.push(part);
    const end = Math.min(last, first + MOST_PICKS - numbers.length - 1);
    for (let number = first; found && number <= end; number += 1) numbers.push(number);
    if (found && end < last) wrong.push(end + 1 < last ? `${end + 1}-${last}` : `${last}`);
  }
  return { numbers: [...new Set(numbers)], wrong };
}

/** Numbers as a short text that `numbersIn` reads, in the same order. @param {number[]} numbers */
function spelled(numbers) {
  /** @type {[number, number][]} */ const runs = [];
  for (const number of numbers) {
    const run = runs[runs.length - 1];
    if (run && run[1] + 1 === number) run[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}

/** Take the picked trials from an address that one comes to, and keep those that are picked later in it. An address that
 * names none leaves them as they are. @param {SweepStore} store */
function usePicksInAddress(store) {
  const arrivals = useArrivals(), version = useWatched(store, store.picks), seen = useRef(0), [wrong, setWrong] = useState(/** @type {string[]} */ ([]));
  useEffect(() => {
    if (seen.current !== address.arrivals) {
      seen.current = address.arrivals;
      const asked = numbersIn(address.get("trials") ?? "");
      setWrong(asked.wrong);
      if (asked.numbers.length) store.picks.replace(asked.numbers);
    }
    const unknown = store.complete ? store.picks.numbers.filter((number) => !store.trials.has(number)) : [];
    if (unknown.length) {
      store.picks.set(unknown, false);
      setWrong((before) => [...before, spelled(unknown)]);
    }
    address.set("trials", spelled(store.picks.numbers) || null);
  }, [store, version, arrivals]);
  useEffect(() => {
    store.picks.told = () => address.set("trials", spelled(store.picks.numbers) || null);
    return () => { store.picks.told = null; };
  }, [store]);
  useEffect(() => { address.ignore("trials", wrong.join(", ") || null); return () => address.ignore("trials", null); }, [wrong]);
}

/** The choice of a data set, for sweeps whose trials learn different ones: they are never ranked as one. @param {{store: SweepStore}} props */
export function DataSetChoice({ store }) {
  useWatched(store);
  const { groups } = store, [chosen, choose] = useChoice("data", groups[0], store.complete ? groups : null);
  useEffect(() => { if (store.group !== chosen) { store.group = chosen; store.changed(); } }, [store, chosen]);
  if (groups.length < 2) return null;
  return html`<div class="strip"><label>Trials of <select value=${chosen} onChange=${(/** @type {any} */ e) => choose(e.target.value)}>
    ${groups.map((group) => html`<option key=${group} value=${group}>${group || "the task as it is"}</option>`)}</select></label>
    <span class="quiet">${store.compared.length} of ${counted(store.rows.length, "trial")}. Trials that learn different data are not compared with each other.</span></div>`;
}

/** The trials that are picked. @param {{store: SweepStore}} props */
export function PickedTrials({ store }) {
  usePicksInAddress(store);
  const { numbers } = store.picks;
  if (!numbers.length) return null;
  const ids = numbers.map((n) => store.trials.get(n)?.id).filter(Boolean);
  return html`<div class="strip picked" role="region" aria-label="Picked trials"><b>${counted(numbers.length, "trial")} picked</b>
    <span class="chips">${numbers.slice(0, 12).map((n) => html`<button key=${n} class="chip" aria-label=${`Unpick trial ${n}`} onClick=${() => store.picks.toggle(n)}><i class="swatch" style=${{ background: colour(store.picks.places.get(n) ?? 0) }}></i>#${n} ×</button>`)}${numbers.length > 12 ? html`<span class="quiet">and ${numbers.length - 12} more</span>` : null}</span>
    <a class="button primary" href=${`#/compare?trials=${ids.join(",")}`}>Compare</a><button onClick=${() => store.picks.clear()}>Clear</button></div>`;
}
