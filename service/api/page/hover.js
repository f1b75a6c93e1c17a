// Which trials the pointer is on: the same ones stand out in every chart and table, without anything being drawn anew.

/** @typedef {(numbers: number[], from: any) => void} Listener */

const MOST = 50;

export class Hover {
  constructor() {
    /** @type {number[]} The numbers of the trials. */ this.numbers = [];
    /** @type {Set<Listener>} */ this.listeners = new Set();
  }

  /** @param {number[]} numbers @param {any} from the chart or table on which the pointer is, which shows it by itself */
  set(numbers, from) {
    const some = numbers.slice(0, MOST);
    if (some.join() === this.numbers.join()) return;
    this.numbers = some;
    for (const listener of [...this.listeners]) listener(some, from);
  }

  /** @param {Listener} listener */
  listen(listener) {
    this.listeners.add(listener);
    return () => { this.listeners.delete(listener); };
  }
}

/** The trials that an item of a chart stands for. @param {any} item @returns {number[]} */
const trialsOf = (item) => (item?.trial ? [item.trial.number] : item?.own ? [item.own.number] : item?.cell ? item.cell.trials.map((/** @type {any} */ trial) => trial.number) : []);

/** The trials that the pointer is on, of an event of a chart. @param {any} event @param {any} option */
export function hovered(event, option) {
  const own = trialsOf(event.data);
  return own.length ? own : option?.series?.[event.seriesIndex]?.trials ?? [];
}

/** @type {WeakMap<any, Map<number, {seriesIndex: number, dataIndex?: number}[]>>} */
const known = new WeakMap();

/** Where a chart shows trials: series, or items of series. @param {any} option @param {number[]} numbers */
export function placesOf(option, numbers) {
  let places = known.get(option);
  if (!places) {
    places = new Map();
    for (const [seriesIndex, series] of (option.series ?? []).entries()) {
      if (series.silent) continue;
      const add = (/** @type {number[]} */ trials, /** @type {any} */ place) => { for (const number of trials) places?.set(number, [...places.get(number) ?? [], place]); };
      if (series.trials) add(series.trials, { seriesIndex });
      else for (const [dataIndex, item] of (series.data ?? []).entries()) add(trialsOf(item), { seriesIndex, dataIndex });
    }
    known.set(option, places);
  }
  return numbers.flatMap((number) => places?.get(number) ?? []);
}
