// Elements are built without innerHTML, so that the name of a sweep is text and never markup.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (name === "style") Object.assign(element.style, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function short(value) {
  if (typeof value !== "number") return String(value);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
}

export function point(params) {
  return Object.entries(params).map(([name, value]) => `${name.split(".").pop()}=${short(value)}`).join(" ");
}

export function bar(progress) {
  const share = progress.total ? progress.done / progress.total : 1;
  const filled = make("i", { style: { width: `${100 * share}%` } });
  return make("span", { class: "bar", title: `${progress.done} of ${progress.total} steps` }, filled);
}

export function percent(progress) {
  return `${Math.floor(progress.total ? (100 * progress.done) / progress.total : 100)} %`;
}

export function state(name) {
  return make("span", { class: `state ${name}` }, name);
}

// A time of the API (RFC 3339, UTC) in the reader's own zone and language.
export function when(time) {
  return time == null ? "" : new Date(time).toLocaleString();
}

// A row of a table; a value in a list of its own is a number, and stands at the right.
export function cells(...values) {
  return make("tr", {}, ...values.map((value) => value instanceof Array
    ? make("td", { class: "number" }, value[0]) : make("td", {}, value)));
}

export function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((name) => name instanceof Array
    ? make("th", { class: "number" }, name[0]) : make("th", {}, name)));
  return make("div", { class: "scroll" }, make("table", { class: "wide" }, make("thead", {}, head), make("tbody", {}, ...rows)));
}
