// What every tab has in common: waiting, with a way to stop it, and failing, with a way to go on.

import { make } from "./dom.js";
import { explained } from "./generation.js";

export function loading(box, words, stop) {
  box.replaceChildren(make("div.waiting", { role: "status" }, make("span.pulse", {}), ` ${words} `, stop ? make("button.small", { type: "button", onclick: stop }, "Stop") : null));
}

export function failed(box, error, again) {
  const stopped = error.name === "AbortError";
  const { title, message, more } = stopped ? { title: "Stopped", message: "", more: "" } : explained(error);
  box.replaceChildren(make("div.failure", stopped ? {} : { role: "alert" }, make("b", {}, title), message ? make("p", {}, message) : null, more ? make("p.soft", {}, more) : null,
    again ? make("button.small", { type: "button", onclick: again }, "Try again") : null));
}
