// One chart: an ECharts canvas that follows its frame, the colour scheme and its option, with downloads.

import { echarts, html, useEffect, useRef, useState } from "../lib.js";
import { csv, save } from "../format.js";
import { onScheme } from "../colours.js";
import { hovered, placesOf } from "../hover.js";

/** The most names of a legend that a file lists, and what one takes in pixels: for a letter, and for a row. */
const MOST_NAMES = 40, NAME_WIDTH = 7, ROW_HEIGHT = 24;

/** The colours of text and lines that the style sheet defines. */
export function inks() {
  const style = getComputedStyle(document.documentElement), read = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return { text: read("--ink"), quiet: read("--quiet"), line: read("--line"), card: read("--card"), accent: read("--accent"), paper: read("--paper") };
}

/** What all charts have in common. */
function basis() {
  const { text, quiet, line, card } = inks();
  return {
    animation: false,
    aria: { enabled: false },
    textStyle: { fontFamily: "system-ui, sans-serif", color: text, fontSize: 12 },
    tooltip: { renderMode: "richText", backgroundColor: card, borderColor: line, borderWidth: 1, textStyle: { color: text, fontSize: 12, fontFamily: "system-ui, sans-serif" }, confine: true },
    axes: { quiet, line },
  };
}

/** An axis with the page's colours. @param {any} axis */
export function axis(axis) {
  const { quiet, line } = inks();
  return {
    nameTextStyle: { color: quiet, fontSize: 12 }, nameLocation: "middle", nameGap: 28, axisLine: { lineStyle: { color: line } },
    axisTick: { lineStyle: { color: line } }, axisLabel: { color: quiet, hideOverlap: true, fontSize: 12 },
    splitLine: { lineStyle: { color: line, opacity: 0.6 } }, minorSplitLine: { show: false }, ...axis,
  };
}

/** @type {Promise<any>} */
let turn = Promise.resolve();

/** The library, for one chart after another: the browser answers its user between two of them.
 * @returns {ReturnType<typeof echarts>} */
function inTurn() {
  turn = turn.then(echarts).then((library) => new Promise((done) => { setTimeout(() => done(library)); }));
  return turn;
}

/**
 * @param {object} props
 * @param {any} props.option what ECharts draws; null while there is nothing
 * @param {string} props.label what the chart shows, for people who cannot see it
 * @param {string} props.file the name of downloads, without an ending
 * @param {() => {heads: string[], rows: any[][]}} props.table the numbers of the chart
 * @param {(event: any) => void} [props.onClick]
 * @param {(event: any) => void} [props.onBrush] called when ranges of parallel axes have been chosen
 * @param {import("../hover.js").Hover} [props.hover] the trials that the pointer is on, in this chart or elsewhere
 * @param {string} [props.size] a class for the height
 * @param {string} [props.empty] what is said in place of the chart
 * @param {any} [props.children] controls above the chart
 * @param {string} props.title
 */
export function Chart({ option, label, file, table, onClick, onBrush, hover, size = "", empty, children, title }) {
  const frame = useRef(/** @type {any} */ (null)), chart = useRef(/** @type {import("../lib.js").EChart | null} */ (null));
  const latest = useRef({ option, onClick, onBrush, shape: "" });
  const [ready, setReady] = useState(false), [, recolour] = useState(0);
  latest.current = { ...latest.current, option, onClick, onBrush };

  useEffect(() => {
    let over = false;
    const watcher = new ResizeObserver(() => chart.current?.resize());
    inTurn().then((library) => {
      if (over || !frame.current) return;
      const made = library.init(frame.current, null, { renderer: "canvas" });
      chart.current = made;
      made.on("click", (event) => latest.current.onClick?.(event));
      made.on("mouseover", (event) => hover?.set(hovered(event, latest.current.option), made));
      made.on("mouseout", () => hover?.set([], made));
      made.on("axisareaselected", (event) => latest.current.onBrush?.({ event, chart: made }));
      watcher.observe(frame.current);
      setReady(true);
    });
    const end = onScheme(() => recolour((n) => n + 1));
    return () => { over = true; end(); watcher.disconnect(); chart.current?.dispose(); chart.current = null; };
  }, []);

  // Tooltips and zoom survive a patch; only another shape (other axes, other series) is drawn anew.
  useEffect(() => {
    if (!chart.current || !option) return;
    const shape = JSON.stringify([Object.keys(option).sort(), (option.series ?? []).map((/** @type {any} */ s) => s.type), [option.xAxis].flat().length,
      [option.xAxis, option.yAxis].flat().map((one) => [one?.type, one?.name]), (option.parallelAxis ?? []).map((/** @type {any} */ a) => [a.name, a.type])]);
    const same = shape === latest.current.shape;
    latest.current.shape = shape;
    chart.current.setOption(withBasis(option), same ? { replaceMerge: ["series"], lazyUpdate: true } : { notMerge: true });
  });

  // nothing is laid out or drawn anew: what is there is only put into the state of an item below the pointer
  useEffect(() => hover?.listen((numbers, from) => {
    const own = chart.current;
    if (!own || from === own || !latest.current.option) return;
    const places = placesOf(latest.current.option, numbers);
    own.dispatchAction({ type: "downplay" });
    if (places.length) own.dispatchAction({ type: "highlight", batch: places });
    frame.current.dataset.hovered = places.length ? numbers.join() : "";
  }), [hover]);

  const picture = async (/** @type {string} */ kind) => {
    if (kind === "csv") { const { heads, rows } = table(); return save(`${file}.csv`, new Blob([csv(heads, rows)], { type: "text/csv" })); }
    const library = await echarts(), { width, height } = frame.current.getBoundingClientRect(), live = chart.current?.getOption() ?? {};
    const { more, ...figure } = unfolded(option, width, live.legend?.[0]?.selected), size = { width, height: height + more };
    if (figure.dataZoom) figure.dataZoom = live.dataZoom ?? figure.dataZoom;
    if (kind === "png" && option.legend?.type !== "scroll") return save(`${file}.png`, chart.current?.getDataURL({ type: "png", pixelRatio: 2, backgroundColor: inks().card }) ?? "");
    const drawn = kind === "png" ? library.init(document.createElement("div"), null, { renderer: "canvas", ...size }) : library.init(null, null, { renderer: "svg", ssr: true, ...size });
    drawn.setOption({ ...withBasis(figure), backgroundColor: inks().card });
    if (kind === "png") save(`${file}.png`, drawn.getDataURL({ type: "png", pixelRatio: 2, backgroundColor: inks().card }));
    else save(`${file}.svg`, new Blob([drawn.renderToSVGString()], { type: "image/svg+xml" }));
    drawn.dispose();
  };

  const nothing = !option;
  return html`<section class="card chart" aria-label=${title}>
    <div class="card-head"><h2>${title}</h2><div class="controls">${children}</div>
      <div class="downloads" role="group" aria-label=${`Download ${title}`}>
        ${["png", "svg", "csv"].map((kind) => html`<button key=${kind} class="plain" disabled=${nothing || !ready} title=${`Download as ${kind.toUpperCase()}`}
          onClick=${() => picture(kind)}>${kind.toUpperCase()}</button>`)}
      </div></div>
    ${nothing ? html`<p class="quiet empty">${empty ?? "There is nothing to show yet."}</p>` : null}
    <div class=${`canvas ${size}`} hidden=${nothing} ref=${frame} role="img" aria-label=${label} data-ready=${ready && !nothing ? "yes" : "no"}></div>
  </section>`;
}

/** An option for a file, which nobody can turn the pages of: its legend has all names in full, and `more` is the height that they need.
 * @param {any} option @param {number} width @param {Record<string, boolean>} [selected] which lines are shown, by name */
function unfolded(option, width, selected) {
  const { legend } = option;
  if (legend?.type !== "scroll" || legend.data.length > MOST_NAMES) return { ...option, more: 0 };
  const longest = Math.max(...legend.data.map((/** @type {string} */ name) => name.length));
  const rows = Math.ceil(legend.data.length / Math.max(1, Math.floor((width - 16) / (longest * NAME_WIDTH + 34)))), more = (rows - 1) * ROW_HEIGHT;
  const { width: _, overflow: __, ...textStyle } = legend.textStyle;
  return { ...option, more, legend: { ...legend, type: "plain", textStyle, selected }, grid: { ...option.grid, bottom: option.grid.bottom + more } };
}

/** @param {any} option */
function withBasis(option) {
  const { axes, tooltip, ...rest } = basis();
  return { ...rest, ...option, tooltip: { ...tooltip, ...option.tooltip } };
}
