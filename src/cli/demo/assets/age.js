// Says beside "made at" how long ago that was: a page out of the cache is older than the click that brought it.
for (const time of document.querySelectorAll("time[datetime]")) {
  const made = Date.parse(time.dateTime);
  const seconds = Math.max(0, Math.round((Date.now() - made) / 1000));
  const note = document.createElement("span");
  note.textContent = seconds < 2 ? " (just now)" : ` (${seconds} s ago)`;
  (time.closest("strong") ?? time).after(note);
}
