// The calls and documents of the API, drawn from /openapi.json.

// Elements are built without innerHTML, so that what a document says is text and never markup.
/** @param {string} tag @param {any} attributes @param {...any} children @returns {HTMLElement} */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(/** @type {Record<string, any>} */ (attributes))) {
    if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const schema = await (await fetch("/openapi.json")).json();

// A short description of a schema, with links to the schemas that have a name.
/** @param {any} part @returns {any[]} */
function words(part) {
  if (!part || !Object.keys(part).length) return ["anything"];
  if (part.$ref) {
    const name = part.$ref.split("/").pop();
    return [make("a", { href: `#${name}` }, name)];
  }
  const choices = part.anyOf ?? part.oneOf;
  if (choices) return choices.flatMap((/** @type {any} */ choice, /** @type {number} */ i) => (i ? [" or ", ...words(choice)] : words(choice)));
  if (part.enum) return [part.enum.map((/** @type {any} */ value) => JSON.stringify(value)).join(" | ")];
  if ("const" in part) return [JSON.stringify(part.const)];
  if (part.type === "array") return ["list of ", ...words(part.items ?? part.prefixItems?.[0])];
  if (part.additionalProperties && part.type === "object") return ["object of ", ...words(part.additionalProperties)];
  const bounds = Object.entries({ minimum: "≥", exclusiveMinimum: ">", maximum: "≤", exclusiveMaximum: "<" })
    .filter(([name]) => name in part).map(([name, sign]) => `${sign} ${part[name]}`);
  return [[[part.type ?? "anything"].flat().join(" or "), ...bounds].join(" ")];
}

// The text of a docstring: a blank line starts a paragraph, and `` encloses code.
/** @param {string | undefined} text */
function prose(text) {
  return (text ?? "").split("\n\n").map((paragraph) => make("p", {}, ...marked(paragraph)));
}

/** @param {string | undefined} text */
function marked(text) {
  return (text ?? "").split("``").map((piece, i) => (i % 2 ? make("code", {}, piece) : piece));
}

// The default of a field. If the field is a document, its defaults are in that document's section.
/** @param {any} part @param {boolean} needed */
function standard(part, needed) {
  if (needed) return "required";
  if (!("default" in part)) return "";
  return part.$ref ? "optional; see its fields" : `default ${JSON.stringify(part.default)}`;
}

/** @param {any[][]} rows */
function fields(rows) {
  const shown = rows.map(([name, part, needed, text]) => make("tr", {}, make("td", {}, name),
    make("td", { style: { whiteSpace: "normal" } }, ...words(part)), make("td", {}, standard(part, needed)),
    make("td", { style: { whiteSpace: "normal" } }, ...marked(text))));
  return make("div", { class: "scroll" }, make("table", { class: "wide" }, ...shown));
}

/** @param {string} path @param {string} method @param {any} operation */
function call(path, method, operation) {
  const parameters = (operation.parameters ?? []).map((/** @type {any} */ p) => [p.name, p.schema, p.required, p.description ?? /** @type {any} */ ({ path: "Part of the path.", query: "Query parameter.", header: "Header." })[p.in]]);
  const body = operation.requestBody?.content["application/json"]?.schema;
  const answers = Object.entries(operation.responses).filter(([status]) => status < "300")
    .map(([status, answer]) => make("p", {}, `${status}: `, ...words(Object.values(answer.content ?? {})[0]?.schema)));
  return make("section", {}, make("h2", {}, `${method.toUpperCase()} ${path}`), ...prose(operation.description),
    parameters.length ? fields(parameters) : "", body ? make("p", {}, "body: ", ...words(body)) : "", ...answers);
}

/** @param {string} name @param {any} part */
function model(name, part) {
  const rows = Object.entries(part.properties ?? {})
    .map(([field, inner]) => [field, inner, (part.required ?? []).includes(field), inner.description]);
  return make("section", { id: name }, make("h2", {}, name), ...prose(part.description), fields(rows));
}

main.replaceChildren(
  make("h1", {}, `${schema.info.title}, version ${schema.info.version}`), make("p", {}, schema.info.description),
  ...Object.entries(schema.paths).flatMap(([path, calls]) => Object.entries(calls).map(([method, operation]) => call(path, method, operation))),
  make("h1", {}, "Documents"), ...Object.entries(schema.components.schemas).map(([name, part]) => model(name, part)));

export {};
