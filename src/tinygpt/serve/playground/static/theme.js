// Before anything is drawn: the light that was chosen here before; without a choice the system's.
// A classic script, so that it runs ahead of the page.
"use strict";
try {
  const chosen = localStorage.getItem("tinygpt-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* no storage: the system's light */ }
