// The dashboard: listens to /events and passes each event to the charts and panels.

import * as charts from "./charts.js";
import { byId, write } from "./show.js";
import { credentials, wire } from "./operate.js";
import { listen } from "./live.js";
import { show, urls } from "./panels.js";

function update(stats) {
  const since = charts.take(stats);
  show(stats, since);
  reveal();
  if (since) charts.draw();
  if (byId("state").dataset.state !== "lost") state(stats.ready ? "live" : "draining", "");
}

/** Shows the page once it has data, or never will: then nothing moves while somebody reaches for it. */
const reveal = () => byId("figures").classList.remove("waiting");

function state(name, why) {
  if (name === "lost") reveal();
  const node = byId("state");
  node.dataset.state = name;
  write(node, { live: "Live", draining: "Draining", lost: why }[name]);
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
      // Storage may be forbidden. The choice then lasts as long as the page.
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
listen(credentials, update, state);
