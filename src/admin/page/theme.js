// Applies the chosen theme before anything is drawn. Only the choice is remembered.
"use strict";
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden. The system's theme then applies.
}
