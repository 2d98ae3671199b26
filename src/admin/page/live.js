// Listens to /events. With `fetch`, so that a token can be sent along, and what a refusal says can be shown.

const RETRY_MS = 2000;
/** Events come each second: after so long without one the connection is taken for dead. */
const SILENCE_MS = 10_000;

/** Calls `told` with the figures of each event, and `changed` with "live", or "lost" and why. Goes on for ever. */
export async function listen(fields, told, changed) {
  for (;;) {
    let why = "the connection ended";
    try {
      why = await once(fields(), told, changed);
    } catch (error) {
      if (error.name !== "AbortError") why = "Larder does not answer";
    }
    changed("lost", why);
    await new Promise((done) => setTimeout(done, RETRY_MS));
  }
}

async function once(headers, told, changed) {
  const stop = new AbortController();
  let alarm = setTimeout(() => stop.abort(), SILENCE_MS);
  try {
    const response = await fetch("/events", { headers, signal: stop.signal, cache: "no-store" });
    if (response.status === 503) return await poll(headers, told, stop.signal);
    if (!response.ok) return await refusal(response);
    changed("live");
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return "the connection ended";
      clearTimeout(alarm);
      alarm = setTimeout(() => stop.abort(), SILENCE_MS);
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) {
        const data = event.split("\n").find((line) => line.startsWith("data: "));
        if (data) told(JSON.parse(data.slice("data: ".length)));
      }
    }
  } finally {
    clearTimeout(alarm);
    stop.abort();
  }
}

/** Reads /stats once, where too many listen already. */
async function poll(headers, told, signal) {
  const response = await fetch("/stats", { headers, signal, cache: "no-store" });
  if (!response.ok) return refusal(response);
  told(await response.json());
  return "many dashboards are open: figures come every 2 s";
}

async function refusal(response) {
  const answer = await response.json().catch(() => ({}));
  return answer.error ?? `/events answers ${response.status}`;
}
