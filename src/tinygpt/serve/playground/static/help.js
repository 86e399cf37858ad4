// The dialogs: the shortcuts, and the question for the key.

import { link } from "./api.js";
import { find } from "./dom.js";

const STORED = "tinygpt-single-keys";

export function singleKeys() {
  return find("single-keys").checked;
}

export function mount() {
  const box = find("single-keys");
  try {
    box.checked = localStorage.getItem(STORED) !== "off";
    box.addEventListener("change", () => localStorage.setItem(STORED, box.checked ? "on" : "off"));
  } catch { /* no storage: on until the page is closed */ }
  find("help-open").addEventListener("click", () => find("help").showModal());
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }
  link.addEventListener("key", ({ detail }) => ask(detail));
}

function ask({ refused, answer }) {
  const dialog = find("key-dialog"), input = find("key");
  input.value = "";
  find("key-refused").hidden = !refused;
  let given = "";
  find("key-form").onsubmit = () => { given = input.value; };
  dialog.onclose = () => {
    input.value = ""; // it stays nowhere but in the memory of api.js
    answer(given);
  };
  dialog.showModal();
}
