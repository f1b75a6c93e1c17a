// What the trials of a sweep read: the sizes, classes, features and first steps of its data sets.

import { cells, make, short, table } from "./dom.js";

const SETS = ["train", "validation", "test"], SHOWN = 20;

// Warnings whose problem is in `said` are shown elsewhere.
export function dataView({ sets, unreadable, count }, said) {
  const left = count - sets.length - unreadable.length;
  return [
    ...sets.flatMap((set) => one(set, sets.length > 1, said)),
    ...unreadable.map((set) => make("p", { class: "bad" }, `${set.source}: ${set.problem}`)),
    left > 0 ? make("p", { class: "quiet" }, `... and ${left} more data sets`) : "",
  ];
}

function one(data, named, said) {
  return [
    named ? make("h2", {}, data.source) : "",
    make("p", {}, facts(data).join("; ")),
    ...data.warnings.filter((found) => !said.has(found.problem)).map((found) => make("p", { class: "warn" }, `${data.source} ${found.problem}; ${found.advice}`)),
    make("h3", {}, "Sets"), sets(data),
    ...data.image ? [] : [...features(data), ...first(data)],
    ...outputs(data), ...tokens(data),
  ];
}

function facts(data) {
  const found = [`task ${data.task}`];
  if (data.files.length) found.push(`${data.files.join(", ")} (${data.format})`);
  if (data.steps) {
    const { min, median, max } = data.steps;
    found.push(`${amount(data.series)} series`);
    found.push(min === max ? `${amount(min)} steps each` : `${amount(min)} to ${amount(max)} steps, median ${short(median)}`);
    found.push(data.image ? `images of ${data.image.join(" x ")} pixels` : `${amount(data.feature_count)} feature${data.feature_count === 1 ? "" : "s"}`);
    const [steps, values] = data.inputs;
    if (steps !== max || values !== data.feature_count) found.push(`networks read ${amount(steps)} steps of ${amount(values)} values`);
    found.push(`${amount(data.missing)} missing values`);
    if (data.without_target) found.push(`${amount(data.without_target)} steps without a target`);
  }
  return found;
}

function sets(data) {
  const counted = data.every_step ? "steps of class" : "of class";
  const rows = [cells(data.kind === "language" ? "tokens" : "series", ...SETS.map((name) => [amount(data.sets[name])])),
    ...data.classes.slice(0, SHOWN).map((own) => cells(`${counted} ${own.label}`, ...SETS.map((name) => [amount(own[name])])))];
  return make("div", {}, table(["", ...SETS.map((name) => [name])], rows), more(data.class_count, "classes"));
}

function features(data) {
  if (!data.features.length) return [];
  const rows = data.features.slice(0, SHOWN).map((own) => cells(own.name, [value(own.min)], [value(own.mean)], [value(own.max)], [amount(own.missing)]));
  return [make("h3", {}, "Features"), table(["", ["min"], ["mean"], ["max"], ["missing"]], rows), more(data.feature_count, "features")];
}

function outputs(data) {
  if (!data.outputs.length) return [];
  const rows = data.outputs.slice(0, SHOWN).map((own) => cells(own.name, [value(own.min)], [value(own.mean)], [value(own.max)]));
  return [make("h3", {}, "Targets"), table(["", ["min"], ["mean"], ["max"]], rows)];
}

function first(data) {
  if (!data.first) return [];
  const { features: names, steps, targets } = data.first;
  const title = data.every_step ? "First steps of the first series" : `First steps of the first series, whose target is ${targets[0]}`;
  const rows = steps.map((step, i) => cells([String(i + 1)], ...step.map((own) => [value(own)]), ...data.every_step ? [[targets[i]]] : []));
  const heads = [["step"], ...names.map((name) => [name]), ...data.every_step ? [["target"]] : []];
  return [make("h3", {}, title), table(heads, rows)];
}

function tokens(data) {
  if (!data.tokens) return [];
  const { vocabulary, unknown, first: beginning } = data.tokens;
  const words = beginning.some((token) => token.length > 1 && !token.startsWith("<"));
  return [make("p", {}, `${amount(vocabulary)} different tokens; ${(100 * unknown).toFixed(2)} % of the validation tokens are unknown`),
    make("pre", {}, beginning.join(words ? " " : ""))];
}

function more(count, what) {
  return count > SHOWN ? make("p", { class: "quiet" }, `... and ${amount(count - SHOWN)} more ${what}`) : "";
}

function amount(number) {
  return number == null ? "drawn" : number.toLocaleString("en");
}

function value(number) {
  return number == null ? "–" : short(number);
}
