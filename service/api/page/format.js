// Numbers, times and names as people read them.

/** A value with at most four digits. @param {any} value @returns {string} */
export function short(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 1e6 ? value.toLocaleString("en").replaceAll(",", "\u2009") : value.toExponential(2);
  const size = Math.abs(value);
  return size >= 1e-4 && size < 1e5 ? String(Number(value.toPrecision(4))) : value.toExponential(2).replace("e+", "e");
}

/** A function that writes the numbers of a column with the same number of decimals. @param {number[]} values */
export function aligned(values) {
  const sizes = values.filter((v) => Number.isFinite(v) && v !== 0).map(Math.abs).sort((a, b) => a - b);
  if (!sizes.length || values.every(Number.isInteger)) return short;
  const middle = sizes[sizes.length >> 1];
  if (middle < 1e-4 || middle >= 1e6) return (/** @type {number} */ v) => v.toExponential(2);
  const decimals = Math.max(0, Math.min(6, 3 - Math.floor(Math.log10(middle))));
  return (/** @type {number} */ v) => (Math.abs(v) >= 1e6 || (v !== 0 && Math.abs(v) < 10 ** -decimals) ? v.toExponential(2) : v.toFixed(decimals));
}

/** A function that writes numbers with their points below each other, without zeros at their ends. @param {number[]} values */
export function pointed(values) {
  const decimals = (/** @type {string} */ text) => (text.includes("e") || !text.includes(".") ? 0 : text.length - text.indexOf(".") - 1);
  const most = Math.max(0, ...values.slice(0, 2000).map((v) => decimals(short(v))));
  return (/** @type {number} */ value) => {
    const text = short(value), own = decimals(text);
    if (text.includes("e") || own >= most) return text;
    // a figure space is as wide as a digit, a punctuation space as wide as a point
    return text + (own || !most ? "" : "\u2008") + "\u2007".repeat(most - own);
  };
}

/** The last part of a path: `margin` of `model.margin`. @param {string} path */
export const leaf = (path) => path.slice(path.lastIndexOf(".") + 1);

/** Values of swept fields in one line. @param {Record<string, any>} params */
export function point(params) {
  return Object.entries(params).map(([name, value]) => `${leaf(name)} ${short(value)}`).join(", ");
}

/** @param {number} seconds */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.round((seconds % 86400) / 3600)} h`;
}

/** How long ago a time of the API was. @param {string | null} time */
export function age(time) {
  if (!time) return "";
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

/** A time of the API in the reader's own zone, in a form that no country misreads. @param {string | number | null} time */
export function when(time) {
  if (time === null) return "";
  const at = new Date(time), two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** @param {number} count @param {string} noun */
export const counted = (count, noun) => `${count.toLocaleString("en").replaceAll(",", "\u2009")} ${noun}${count === 1 ? "" : "s"}`;

/** @param {number} size */
export function bytes(size) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (size >= 1000 && at < units.length - 1) { size /= 1000; at += 1; }
  return `${size < 10 && at ? size.toFixed(1) : Math.round(size)} ${units[at]}`;
}

/** Text as a CSV cell; what a spreadsheet would take for a formula gets an apostrophe. @param {any} value */
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  let text = String(value);
  if (/^\s*[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @param {string[]} heads @param {any[][]} rows */
export const csv = (heads, rows) => [heads, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";

/** Let the browser save a file. @param {string} name @param {Blob | string} content a blob, or the address of data */
export function save(name, content) {
  const link = document.createElement("a");
  link.href = typeof content === "string" ? content : URL.createObjectURL(content);
  link.download = name;
  link.click();
  if (typeof content !== "string") setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
