// Forms for explaining and purging, and the admin interface's answers in readable form.

import { byId, el } from "./show.js";

/** Returns the headers with the token, if one is entered. The token exists only in the input field. */
export function credentials() {
  const token = byId("token").value.trim();
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function ask(path, content) {
  const response = await fetch(path, {
    method: "POST", cache: "no-store", body: JSON.stringify(content),
    headers: { "Content-Type": "application/json", ...credentials() },
  });
  const text = await response.text();
  let answer = text;
  try {
    answer = JSON.parse(text);
  } catch {
    // Some answers are plain text, and are shown unchanged.
  }
  return { status: response.status, answer };
}

/** Returns the message for an unsuccessful answer, or null. */
function trouble(path, { status, answer }) {
  if (status < 400) return null;
  if (status === 404 || status === 405) return `This Larder has no POST ${path}.`;
  if (status === 401) return "The admin token is missing or wrong: enter it in the field “Admin token”.";
  return typeof answer === "string" ? `${status}: ${answer}` : `${answer.error ?? "refused"} (${status})`;
}

/** Renders any JSON: objects as lists of names, texts of several lines unchanged. */
function readable(value) {
  if (Array.isArray(value)) {
    if (value.length === 0) return "none";
    return el("ul", {}, ...value.map((one) => el("li", {}, readable(one))));
  }
  if (value !== null && typeof value === "object") {
    if (Object.keys(value).length === 0) return "none";
    const rows = Object.entries(value).flatMap(([name, one]) => [el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, readable(one))]);
    return el("dl", { class: "told" }, ...rows);
  }
  if (typeof value === "string" && value.includes("\n")) return el("pre", {}, value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  return value === null || value === "" ? "–" : String(value);
}

async function run(form, result, path, content, verdict) {
  const button = form.querySelector("button[type=submit]");
  button.disabled = true;
  let shown;
  try {
    const reply = await ask(path, content);
    const why = trouble(path, reply);
    shown = why
      ? [el("p", { class: "verdict bad" }, why), ...(reply.answer?.example ? [readable({ example: reply.answer.example })] : [])]
      : [el("p", { class: "verdict" }, verdict(reply.answer)), readable(reply.answer)];
  } catch {
    shown = [el("p", { class: "verdict bad" }, "Larder is not responding.")];
  }
  result.replaceChildren(...shown);
  button.disabled = false;
  // A disabled button loses the focus; a user who has moved on keeps theirs.
  if (document.activeElement === document.body) button.focus({ preventScroll: true });
}

/** Header lines, as for `curl -H`. */
const linesOf = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

const SELECTORS = {
  url: { label: "URL", example: "http://example.org/page", make: (value) => ({ url: value }) },
  prefix: { label: "Prefix ending with /", example: "example.org/shop/", make: (value) => ({ prefix: value }) },
  host: { label: "Host", example: "example.org", make: (value) => ({ host: value }) },
  tag: { label: "Tag", example: "product-17", make: (value) => ({ tag: value }) },
  everything: { label: "", example: "", make: () => ({ all: true }) },
};

/** Shows the fields for the chosen selector. */
function choose() {
  const what = byId("purge-what").value;
  const isAll = what === "everything";
  byId("purge-value-field").hidden = isAll;
  byId("purge-sure-field").hidden = !isAll;
  byId("purge-value").required = !isAll;
  byId("purge-sure").required = isAll;
  byId("purge-sure").checked = false;
  byId("purge-value-label").textContent = SELECTORS[what].label;
  byId("purge-value").placeholder = SELECTORS[what].example;
}

/** Fills a URL into a form and focuses its button; explaining changes nothing, so it starts at once. */
export function fill(which, url) {
  const form = byId(which);
  if (which === "purge") {
    byId("purge-what").value = "url";
    choose();
  }
  byId(`${which}-${which === "purge" ? "value" : "url"}`).value = url;
  form.scrollIntoView({ block: "center" });
  form.querySelector("button[type=submit]").focus({ preventScroll: true });
  if (which === "explain") form.requestSubmit();
}

export function wire() {
  byId("explain").addEventListener("submit", (event) => {
    event.preventDefault();
    const content = { url: byId("explain-url").value.trim(), method: byId("explain-method").value.trim(), headers: linesOf(byId("explain-headers").value) };
    run(event.target, byId("explain-result"), "/explain", content, (answer) => answer.now?.says ?? `${content.method} ${content.url}`);
  });
  byId("purge").addEventListener("submit", (event) => {
    event.preventDefault();
    const selector = SELECTORS[byId("purge-what").value].make(byId("purge-value").value.trim());
    run(event.target, byId("purge-result"), "/purge", { ...selector, kind: byId("purge-kind").value }, () => "Purged.");
    byId("purge-sure").checked = false;
  });
  byId("purge-what").addEventListener("change", choose);
  choose();
}
