// Small helpers: making elements, and writing numbers for people. Text always goes in as text.

export const byId = (id) => document.getElementById(id);

/** Makes an element. Attributes are set by name; children are nodes, or text. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Writes text where it differs, so that nothing is announced or drawn anew for nothing. `value` is the figure as /stats has it. */
export function write(node, text, value) {
  if (node.textContent !== text) node.textContent = text;
  if (value !== undefined) node.dataset.value = String(value);
}

/**
 * Makes the children of `list` follow `items`, keeping the nodes of those that stay, so that focus and opened details stay.
 * The order is left as it is while somebody is inside.
 */
export function follow(list, items, keyOf, make, update) {
  const held = new Map([...list.children].map((node) => [node.dataset.key, node]));
  const wanted = items.map((item) => {
    const key = keyOf(item);
    const node = held.get(key) ?? make(item);
    node.dataset.key = key;
    held.delete(key);
    update(node, item);
    return node;
  });
  const isUsed = list.contains(document.activeElement);
  for (const node of held.values()) if (!(isUsed && node.contains(document.activeElement))) node.remove();
  wanted.forEach((node, at) => {
    if (list.children[at] === node) return;
    if (isUsed && node.parentNode === list) return;
    list.insertBefore(node, list.children[at] ?? null);
  });
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });

/** A number as it is up to a million, shortened beyond. */
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

/** A span given in microseconds. */
export function span(micros) {
  if (micros === null || micros === undefined) return "–";
  if (micros < 1000) return `${micros} µs`;
  if (micros < 1e6) return `${(micros / 1e3).toPrecision(3)} ms`;
  if (micros < 6e7) return `${(micros / 1e6).toPrecision(3)} s`;
  return lasting(micros / 1e6);
}

/** A span given in seconds, in its two largest units. */
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
