// Shows the page's age next to its time: a cached page is older than the click that loaded it.
for (const time of document.querySelectorAll("time[datetime]")) {
  const made = Date.parse(time.dateTime);
  const seconds = Math.max(0, Math.round((Date.now() - made) / 1000));
  const note = document.createElement("span");
  note.textContent = seconds < 2 ? " (just now)" : ` (${seconds} s ago)`;
  (time.closest("strong") ?? time).after(note);
}
