// The charts: the last five minutes of /events, drawn by uPlot.
/* global uPlot */

import { byId, percent, rate, span } from "./show.js";

const SAMPLES_MAX = 300;
const HEIGHT = 210;
export const OUTCOMES = ["hit", "stale", "revalidated", "miss", "pass", "refused", "failed"];
const QUANTILES = [["hits", "p50_us", "hit"], ["hits", "p99_us", "revalidated"], ["misses", "p50_us", "miss"], ["misses", "p99_us", "pass"]];

const history = [];
let charts = [];
let last = null;

/** Records an event; returns the change since the previous one: requests per second by outcome, hits, saved. */
export function take(stats) {
  const now = Date.now() / 1000;
  const isSame = last !== null && stats.uptime_seconds >= last.stats.uptime_seconds;
  const seconds = isSame ? stats.uptime_seconds - last.stats.uptime_seconds : 0;
  const since = seconds > 0.2 ? between(last.stats, stats, seconds) : null;
  if (!isSame) history.length = 0;
  if (since || !isSame) last = { stats };
  if (!since) return null;
  history.push({ at: now, ...since, latency: QUANTILES.map(([kind, quantile]) => stats.latency[kind][quantile]) });
  if (history.length > SAMPLES_MAX) history.shift();
  return since;
}

function between(before, after, seconds) {
  const rates = OUTCOMES.map((outcome) => (after.requests.by_outcome[outcome] - before.requests.by_outcome[outcome]) / seconds);
  const requests = after.requests.total - before.requests.total;
  const share = (part) => (requests > 0 ? part / requests : null);
  return {
    rates,
    total: requests / seconds,
    hit: share(after.requests.by_outcome.hit - before.requests.by_outcome.hit),
    saved: share(after.origin.saved - before.origin.saved),
  };
}

/** Returns the samples of the last `seconds`. */
export function recent(seconds) {
  const from = Date.now() / 1000 - seconds;
  return history.filter((sample) => sample.at >= from);
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function axes(format) {
  const look = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "12px system-ui, sans-serif" };
  return [{ ...look, space: 90, values: (_, splits) => splits.map(time) }, { ...look, size: 62, values: (_, splits) => splits.map((split) => (split === null ? "" : format(split))) }];
}

/** The legend shows the value under the pointer, or the latest value if the pointer is elsewhere. */
function line(label, name, format, more = {}) {
  const shown = (value) => (value === null || value === undefined ? "–" : format(value));
  const value = (drawn, pointed, at, sample) => shown(sample === null || sample === undefined ? drawn.data?.[at]?.at(-1) : pointed);
  return { label, stroke: colour(name), width: 2, points: { show: false }, spanGaps: true, value, ...more };
}

function options(node, series, format, scale) {
  return {
    width: Math.max(node.clientWidth, 240), height: HEIGHT, series: [{ label: "", value: (_, at) => (at === null || at === undefined ? "now" : time(at)) }, ...series],
    scales: { x: { time: true, range: window }, y: scale }, axes: axes(format), cursor: { drag: { x: false, y: false } }, legend: { live: true },
  };
}

/** Returns the time range to show: the recorded samples, at least one minute and at most five. */
function window() {
  const end = history.at(-1)?.at ?? Date.now() / 1000;
  const known = end - (history[0]?.at ?? end);
  return [end - Math.min(Math.max(known, 60), SAMPLES_MAX), end];
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const time = (seconds) => clock.format(new Date(seconds * 1000));

/** Outcomes are stacked: each line is the sum of the outcomes up to it; the legend shows each outcome's own rate. */
function rates() {
  const node = byId("chart-rate");
  const series = OUTCOMES.map((outcome, at) =>
    line(outcome, outcome, rate, {
      fill: colour(outcome), width: 1,
      value: (_, __, ___, sample) => (sample === null || sample === undefined ? rate(history.at(-1)?.rates[at] ?? 0) : rate(history[sample]?.rates[at] ?? 0)),
    }));
  // The highest sum is drawn first, so that the lower ones appear in front of it.
  const drawn = series.toReversed();
  const data = () => {
    const sums = history.map((sample) => sample.rates.reduce((all, one) => [...all, (all.at(-1) ?? 0) + one], []));
    return [history.map((sample) => sample.at), ...OUTCOMES.map((_, at) => sums.map((sum) => sum[at])).toReversed()];
  };
  return chart(node, options(node, drawn, rate, { range: (_, __, max) => [0, Math.max(1, max * 1.1)] }), data);
}

function ratios() {
  const node = byId("chart-ratio");
  const series = [line("hits", "hit", percent), line("saved", "miss", percent, { dash: [6, 4] })];
  const data = () => [history.map((sample) => sample.at), history.map((sample) => sample.hit), history.map((sample) => sample.saved)];
  return chart(node, options(node, series, (share) => `${Math.round(share * 100)} %`, { range: [0, 1] }), data);
}

function latencies() {
  const node = byId("chart-latency");
  const series = QUANTILES.map(([kind, quantile, name], at) =>
    line(`${kind} ${quantile.replace("_us", "")}`, name, span, at % 2 ? { dash: [6, 4] } : {}));
  const data = () => [history.map((sample) => sample.at),
    ...QUANTILES.map((_, at) => history.map((sample) => (sample.latency[at] === null ? null : Math.max(1, sample.latency[at]))))];
  const range = (_, min, max) => [10 ** Math.floor(Math.log10(min ?? 1)), 10 ** Math.ceil(Math.log10(Math.max(max ?? 10, (min ?? 1) * 1.01)))];
  return chart(node, options(node, series, span, { distr: 3, range }), data);
}

function chart(node, opts, data) {
  node.replaceChildren();
  const drawn = new uPlot(opts, data(), node);
  return { node, drawn, draw: () => drawn.setData(data()) };
}

/** Makes the charts; also called when the theme has changed. */
export function make() {
  charts.forEach((one) => one.drawn.destroy());
  charts = [rates(), ratios(), latencies()];
}

export function draw() {
  charts.forEach((one) => one.draw());
}

export function fit() {
  charts.forEach((one) => {
    const width = Math.max(one.node.clientWidth, 240);
    if (width !== one.drawn.width) one.drawn.setSize({ width, height: HEIGHT });
  });
}
