// Puts the chosen theme in force before anything is drawn. Nothing is remembered but the choice.
"use strict";
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden: then the system's theme it is.
}
