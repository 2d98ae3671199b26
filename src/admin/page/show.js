// Small helpers: making elements, and formatting numbers for people. Text is always inserted as
// text.

export const byId = (id) => document.getElementById(id);

/** Makes an element with attributes and children; children are nodes or text. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Writes text if it differs, to avoid needless announcements and redraws. `value` is the exact value of /stats. */
export function write(node, text, value) {
  if (node.textContent !== text) node.textContent = text;
  if (value !== undefined) node.dataset.value = String(value);
}

/**
 * Updates the children of `list` to match `items`. Nodes of items that stay are kept, and with them the
 * focus and opened details. The order does not change while the focus is inside the list.
 */
export function follow(list, items, keyOf, make, update) {
  const nodes = new Map([...list.children].map((node) => [node.dataset.key, node]));
  const wanted = items.map((item) => {
    const key = keyOf(item);
    const node = nodes.get(key) ?? make(item);
    node.dataset.key = key;
    nodes.delete(key);
    update(node, item);
    return node;
  });
  const isUsed = list.contains(document.activeElement);
  for (const node of nodes.values()) if (!(isUsed && node.contains(document.activeElement))) node.remove();
  wanted.forEach((node, at) => {
    if (list.children[at] === node) return;
    if (isUsed && node.parentNode === list) return;
    list.insertBefore(node, list.children[at] ?? null);
  });
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });

/** Formats a number: in full up to a million, shortened beyond. */
export const count = (number) => (number < 1e6 ? whole : short).format(number);

export const percent = (share) => (share === null || share === undefined ? "–" : `${(share * 100).toFixed(1)} %`);

export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let left = number;
  while (left >= 1024 && at < units.length - 1) {
    left /= 1024;
    at += 1;
  }
  return `${at === 0 ? left : left.toPrecision(left >= 1000 ? 4 : 3)} ${units[at]}`;
}

/** Formats a duration given in microseconds. */
export function span(micros) {
  if (micros === null || micros === undefined) return "–";
  if (micros < 1000) return `${micros} µs`;
  if (micros < 1e6) return `${(micros / 1e3).toPrecision(3)} ms`;
  if (micros < 6e7) return `${(micros / 1e6).toPrecision(3)} s`;
  return lasting(micros / 1e6);
}

/** Formats a duration given in seconds, in its two largest units. */
export function lasting(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0 s";
  let left = Math.floor(seconds);
  const parts = [];
  for (const [unit, size] of units.slice(first, first + 2)) {
    if (Math.floor(left / size) > 0) parts.push(`${Math.floor(left / size)} ${unit}`);
    left %= size;
  }
  return parts.join(" ");
}

export const rate = (perSecond) => (perSecond >= 100 ? count(perSecond) : perSecond.toFixed(perSecond >= 10 ? 1 : 2).replace(/\.?0+$/, ""));
