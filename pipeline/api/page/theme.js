// The colours: as the system likes them, or as was chosen here. Loaded before anything is drawn.
"use strict";
(() => {
  const KEY = "sensorium-theme",
    ORDER = ["automatic", "light", "dark"];
  const root = document.documentElement;

  const kept = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    } // a browser that keeps nothing
  };
  const set = name => {
    if (name === "automatic") delete root.dataset.theme;
    else root.dataset.theme = name;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${name}`;
  };
  let name = ORDER.includes(kept()) ? kept() : "automatic";
  set(name);
  document.addEventListener("DOMContentLoaded", () => {
    set(name);
    document.getElementById("theme").addEventListener("click", () => {
      name = ORDER[(ORDER.indexOf(name) + 1) % ORDER.length];
      try {
        localStorage.setItem(KEY, name);
      } catch {
        /* it is for this page only, then */
      }
      set(name);
      dispatchEvent(new Event("themechange"));
    });
  });
})();
