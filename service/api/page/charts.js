// The heatmap over reflectors and margin, the scatter plot for spaces too large for it, and learning curves.

import { draw, make, short } from "./dom.js";

const WIDTH = 640, HEIGHT = 300, LEFT = 56, BOTTOM = 30, TOP = 26, RIGHT = 12;

// The colour of a value from 0 (worst) to 1 (best): one hue, pale to deep. `ink` is the colour of text on it.
function colour(share) {
  return `hsl(212 ${30 + 40 * share}% ${82 - 46 * share}%)`;
}

function ink(share) {
  return share > 0.45 ? "#fff" : "#1c1e21";
}

function shares(values, direction) {
  const low = Math.min(...values), high = Math.max(...values);
  return (value) => {
    const share = high === low ? 1 : (value - low) / (high - low);
    return direction === "maximize" ? share : 1 - share;
  };
}

export function reflectors([u, v]) {
  return u === v ? String(u) : `${u} + ${v}`;
}

export function heatmap(grid, objective) {
  const cells = grid.cells.flat().filter(Boolean);
  const share = shares(cells.map((cell) => cell.best), objective.direction);
  const head = make("tr", {}, make("th", {}, "reflectors \\ margin"), ...grid.margins.map((m) => make("th", {}, short(m))));
  const rows = grid.reflectors.map((count, i) => make("tr", {}, make("th", {}, reflectors(count)),
    ...grid.cells[i].map((cell) => cell
      ? make("td", {
        style: { background: colour(share(cell.best)), color: ink(share(cell.best)) },
        title: `best ${cell.best}, mean ${cell.mean}, ${cell.count} trial(s)`,
      }, short(cell.best))
      : make("td", { class: "quiet" }, "–"))));
  return make("div", { class: "scroll" }, make("table", { class: "grid" }, make("thead", {}, head), make("tbody", {}, ...rows)));
}

export function scatter(places, objective) {
  const share = shares(places.map((place) => place.objective), objective.direction);
  const chart = frame(places.map((p) => Math.log10(p.margin)), places.map((p) => p.reflectors[0] + p.reflectors[1]),
    (x) => short(10 ** x), "margin (log)", "reflectors (left + right)");
  for (const place of places) {
    const [x, y] = chart.at(Math.log10(place.margin), place.reflectors[0] + place.reflectors[1]);
    const title = draw("title", {}, `trial ${place.number}: ${short(place.objective)}`);
    chart.svg.append(draw("circle", { cx: x, cy: y, r: 5, class: "place", fill: colour(share(place.objective)) }, title));
  }
  return chart.svg;
}

// lines: [{name, points: [[step, value], ...]}], best first.
export function curves(lines, metric) {
  const all = lines.flatMap((line) => line.points);
  if (!all.length) return make("p", { class: "quiet" }, "No trial has reported yet.");
  const chart = frame(all.map((p) => p[0]), all.map((p) => p[1]), short, "step", metric);
  lines.forEach((line, i) => {
    const title = draw("title", {}, line.name);
    const points = line.points.map((p) => chart.at(...p).join(",")).join(" ");
    const opacity = 1 - 0.75 * (i / Math.max(1, lines.length - 1));
    chart.svg.append(draw("polyline", { points, "stroke-opacity": opacity }, title));
  });
  return chart.svg;
}

function frame(xs, ys, label, xName, yName) {
  const span = (values) => {
    const low = Math.min(...values), high = Math.max(...values);
    if (low < high) return [low, high];
    return low ? [Math.min(0, low), Math.max(0, low)] : [0, 1];
  };
  const [x0, x1] = span(xs), [y0, y1] = span(ys);
  const at = (x, y) => [
    LEFT + ((x - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT),
    HEIGHT - BOTTOM - ((y - y0) / (y1 - y0)) * (HEIGHT - BOTTOM - TOP),
  ];
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${yName} over ${xName}` });
  for (const y of [y0, (y0 + y1) / 2, y1]) {
    const [, top] = at(x0, y);
    svg.append(draw("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: top, y2: top }));
    svg.append(draw("text", { x: LEFT - 6, y: top + 4, "text-anchor": "end" }, short(y)));
  }
  for (const [anchor, x] of [["start", x0], ["end", x1]]) {
    svg.append(draw("text", { x: at(x, y0)[0], y: HEIGHT - 10, "text-anchor": anchor }, label(x)));
  }
  svg.append(draw("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 10, "text-anchor": "middle" }, xName));
  svg.append(draw("text", { x: LEFT, y: 15 }, yName));
  return { svg, at };
}
