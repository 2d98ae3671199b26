// The panels of the dashboard. Every number also carries the exact value of /stats, as
// `data-value`.

import { byId, bytes, count, el, follow, lasting, percent, rate, span, write } from "./show.js";
import { recent } from "./charts.js";
import { fill } from "./operate.js";

/** The number of bytes that Larder keeps of a URL: a URL of this length may be truncated. */
const URL_BYTES_MAX = 512;

let shown = null;

export function show(stats, since) {
  shown = stats;
  head(stats);
  tiles(stats, since);
  memory(stats);
  origin(stats);
  reasons(stats.not_from_cache);
  urls();
  errors(stats.recent_errors);
  routes(stats.routes);
}

function head(stats) {
  write(byId("about"), `version ${stats.version} · up ${lasting(stats.uptime_seconds)} · ${count(stats.connections)} connections`);
  follow(byId("warnings"), stats.warnings, (text) => text, () => el("li"), (node, text) => write(node, text));
}

function tiles(stats, since) {
  const minute = recent(60);
  const average = (pick) => {
    const known = minute.map(pick).filter((value) => value !== null);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  };
  write(byId("hit-ratio"), percent(stats.ratios.cache_hit), stats.ratios.cache_hit);
  write(byId("hit-ratio-note"), `last minute ${percent(average((sample) => sample.hit))}`);
  write(byId("rate"), since ? rate(since.total) : "–");
  write(byId("rate-note"), `${count(stats.requests.total)} since start`, stats.requests.total);
  write(byId("saved"), percent(stats.origin.saved_ratio), stats.origin.saved_ratio);
  write(byId("saved-note"), `${count(stats.origin.saved)} of ${count(stats.requests.total)}`, stats.origin.saved);
  latency("hits-take", stats.latency.hits);
  latency("misses-take", stats.latency.misses);
  write(byId("memory"), bytes(stats.memory.alive_bytes), stats.memory.alive_bytes);
  write(byId("memory-note"), `of ${bytes(stats.memory.capacity_bytes)}; ${count(stats.store.entries)} entries`, stats.store.entries);
}

function latency(id, quantiles) {
  write(byId(id), span(quantiles.p50_us), quantiles.p50_us);
  write(byId(`${id}-note`), `median · p99 ${span(quantiles.p99_us)}`, quantiles.p99_us);
}

function memory({ memory: { capacity_bytes: capacity, alive_bytes: alive, stored_bytes: stored }, store }) {
  const kinds = [
    ["stored", "kind-stored", Math.min(stored, alive)],
    ["in flight", "kind-moving", Math.max(0, alive - stored)],
    ["free", "kind-free", Math.max(0, capacity - alive)],
  ];
  const bar = byId("memory-bar");
  follow(bar, kinds, ([name]) => name, ([, look]) => el("i", { class: look }), (node, [, , size]) => {
    node.style.width = `${capacity > 0 ? (size / capacity) * 100 : 0}%`;
  });
  bar.setAttribute("aria-label", kinds.map(([name, , size]) => `${name} ${bytes(size)}`).join(", "));
  const saved = store.raw_bytes > 0 ? 1 - store.compressed_bytes / store.raw_bytes : 0;
  pairs("memory-kinds", [
    ...kinds.map(([name, look, size]) => [name, bytes(size), look]),
    ["saved by compression", percent(Math.max(0, saved))],
    ["evicted (full)", count(store.evicted.size)],
    ["evicted (purged)", count(store.evicted.purge)],
  ]);
}

function origin({ origin: stats, fills_in_flight: fills }) {
  pairs("origin-kinds", [
    ["requests", count(stats.requests)],
    ["active", count(stats.permits_in_use)],
    ["queued", count(stats.permits_waiting)],
    ["fetching", count(fills)],
    ["breaker", stats.breaker],
  ]);
}

function pairs(id, rows) {
  const list = byId(id);
  const flat = rows.flatMap(([name, value, look]) => [["dt", name, name, look], ["dd", name, value]]);
  follow(list, flat, ([kind, name]) => `${kind} ${name}`,
    ([kind, , , look]) => (look ? el(kind, {}, el("i", { class: `dot ${look}` }), el("span")) : el(kind, {}, el("span"))),
    (node, [, , text]) => write(node.lastChild, text));
}

function reasons(lost) {
  const most = Math.max(1, ...lost.map((row) => row.origin_time_us));
  byId("reasons-empty").hidden = lost.length > 0;
  follow(byId("reasons"), lost, (row) => row.reason, reason, (node, row) => {
    const [name, cost] = node.querySelector(".reason-head").children;
    write(name, row.reason);
    write(cost, `${span(row.origin_time_us)} of origin time · ${count(row.requests)} request${row.requests === 1 ? "" : "s"}`, row.requests);
    node.querySelector(".share i").style.width = `${(row.origin_time_us / most) * 100}%`;
    write(node.querySelector(".because"), row.why);
    // A reason that needs no change says so in its first word.
    const isExpected = row.change.startsWith("Nothing to fix:");
    const change = node.querySelector(".change");
    write(change, isExpected ? "Expected." : `Fix: ${row.change}`);
    change.classList.toggle("expected", isExpected);
    const examples = node.querySelector("details ul");
    follow(examples, row.urls, (url) => url, () => el("li", { class: "url" }), (item, url) => write(item, url));
  });
}

function reason() {
  return el("li", {},
    el("div", { class: "reason-head" }, el("code"), el("span", { class: "cost" })),
    el("div", { class: "share" }, el("i")),
    el("p", { class: "because" }),
    el("p", { class: "change" }),
    el("details", {}, el("summary", {}, "Examples"), el("ul")));
}

const AMOUNTS = { by_requests: count, by_bytes: bytes, by_misses: count, by_origin_time_us: span };

/** Shows the chosen list of URLs. */
export function urls() {
  if (!shown) return;
  const by = document.querySelector("#most-by input:checked").value;
  const rows = shown.asked_most[by];
  byId("urls-empty").hidden = rows.length > 0;
  follow(byId("urls"), rows, (row) => row.url, urlRow, (node, row) => {
    const [url, amount] = node.children;
    write(url, row.url.length < URL_BYTES_MAX ? row.url : `${row.url}…`);
    write(amount, `${row.at_most > row.at_least ? "≥ " : ""}${AMOUNTS[by](row.at_least)}`, row.at_least);
  });
}

function urlRow({ url }) {
  const doing = el("span", { class: "doing" });
  // A truncated URL cannot be explained or purged.
  if (url.length < URL_BYTES_MAX) {
    const explain = el("button", { type: "button", "aria-label": `Explain ${url}` }, "Explain");
    explain.addEventListener("click", () => fill("explain", url));
    const purge = el("button", { type: "button", "aria-label": `Purge ${url}` }, "Purge…");
    purge.addEventListener("click", () => fill("purge", url));
    doing.append(explain, purge);
  }
  return el("li", {}, el("span", { class: "url" }), el("span", { class: "amount" }), doing);
}

function errors(rows) {
  byId("errors-empty").hidden = rows.length > 0;
  const seen = new Map();
  const keyed = rows.toReversed().map((row) => {
    const key = `${row.at} ${row.status} ${row.url}`;
    seen.set(key, (seen.get(key) ?? 0) + 1);
    return { ...row, key: `${key} ${seen.get(key)}` };
  }).toReversed();
  follow(byId("errors"), keyed, (row) => row.key,
    () => el("li", {}, el("time"), el("span", { class: "url" }), el("code"), el("span", { class: "what" })),
    (node, row) => {
      const [time, url, status, what] = node.children;
      const at = new Date(row.at * 1000);
      time.dateTime = at.toISOString();
      write(time, at.toLocaleTimeString("en-GB"));
      write(url, row.url);
      write(status, `${row.outcome} ${row.status}`);
      write(what, row.what);
    });
}

function routes(rows) {
  follow(byId("routes"), rows, (row) => row.name, () => el("tr", {}, ...Array.from({ length: 6 }, () => el("td"))), (node, row) => {
    const texts = [row.name, count(row.requests), percent(row.cache_hit_ratio), bytes(row.bytes), span(row.hits.p99_us), span(row.misses.p99_us)];
    texts.forEach((text, at) => write(node.children[at], text));
  });
}
