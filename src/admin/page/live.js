// Listens to /events. `fetch` can send a token along, and show the message of a refusal.

const RETRY_MS = 2000;
/** Events arrive every second; after this long without one, the connection counts as dead. */
const SILENCE_MS = 10_000;

/** Calls `update` with the stats of each event, and `changed` with "live", or "lost" and the reason. Never returns. */
export async function listen(fields, update, changed) {
  for (;;) {
    let why = "Disconnected";
    try {
      why = await once(fields(), update, changed);
    } catch (error) {
      if (error.name !== "AbortError") why = "Disconnected";
    }
    changed("lost", why);
    await new Promise((done) => setTimeout(done, RETRY_MS));
  }
}

async function once(headers, update, changed) {
  const stop = new AbortController();
  let alarm = setTimeout(() => stop.abort(), SILENCE_MS);
  try {
    const response = await fetch("/events", { headers, signal: stop.signal, cache: "no-store" });
    if (response.status === 503) return await poll(headers, update, stop.signal);
    if (!response.ok) return await refusal(response, headers);
    changed("live");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return "Disconnected";
      clearTimeout(alarm);
      alarm = setTimeout(() => stop.abort(), SILENCE_MS);
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) {
        const data = event.split("\n").find((line) => line.startsWith("data: "));
        if (data) update(JSON.parse(data.slice("data: ".length)));
      }
    }
  } finally {
    clearTimeout(alarm);
    stop.abort();
  }
}

/** Reads /stats once, because /events has too many listeners. */
async function poll(headers, update, signal) {
  const response = await fetch("/stats", { headers, signal, cache: "no-store" });
  if (!response.ok) return refusal(response, headers);
  update(await response.json());
  return "Too many dashboards: refreshing every 2 s";
}

async function refusal(response, headers) {
  if (response.status === 401) return headers.Authorization ? "Wrong token" : "Sign in";
  const answer = await response.json().catch(() => ({}));
  return answer.error ?? `/events: status ${response.status}`;
}
