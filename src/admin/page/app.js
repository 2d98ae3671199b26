// The dashboard: listens to /events and hands each one to the charts and panels.

import * as charts from "./charts.js";
import { byId, write } from "./show.js";
import { credentials, wire } from "./operate.js";
import { listen } from "./live.js";
import { show, urls } from "./panels.js";

function told(stats) {
  const since = charts.take(stats);
  show(stats, since);
  reveal();
  if (since) charts.draw();
  if (byId("state").dataset.state !== "lost") state(stats.ready ? "live" : "draining", "");
}

/** Shows the page once it is filled, or will not be: what appears does not push aside what somebody reaches for. */
const reveal = () => byId("figures").classList.remove("waiting");

function state(name, why) {
  if (name === "lost") reveal();
  const node = byId("state");
  node.dataset.state = name;
  write(node, { live: "live", draining: "draining", lost: `lost: ${why}` }[name]);
}

const THEMES = ["auto", "light", "dark"];

function theme() {
  const root = document.documentElement;
  const button = byId("theme");
  const now = () => root.dataset.theme ?? "auto";
  write(button, `Theme: ${now()}`);
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(now()) + 1) % THEMES.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem("theme", next);
    } catch {
      // Storage may be forbidden: then the choice lasts as long as the page.
    }
    write(button, `Theme: ${next}`);
    charts.make();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.make());
}

wire();
theme();
charts.make();
new ResizeObserver(() => charts.fit()).observe(document.body);
byId("most-by").addEventListener("change", urls);
listen(credentials, told, state);
