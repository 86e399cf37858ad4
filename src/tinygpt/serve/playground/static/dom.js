// Elements without markup: every text becomes a text node, so nothing that a model or a file says
// is ever read as HTML; what would turn or hide other text is written as an escape.

import { readable } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";

// make("p.soft", {id: "x", onclick: f}, "words", element, [more]): null and false are left out.
export function make(what, attributes = {}, ...children) {
  return fill(document.createElement(what.split(".")[0]), what, attributes, children);
}

export function draw(what, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, what.split(".")[0]), what, attributes, children);
}

function fill(element, what, attributes, children) {
  const classes = what.split(".").slice(1);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...kept(children));
  return element;
}

function kept(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (typeof child === "string" ? readable(child) : child));
}

// New contents, as `make` takes children.
export function refill(element, ...children) {
  element.replaceChildren(...kept(children));
}

export const find = (id) => document.getElementById(id);

// The letter of a model on its colour, as in every report.
export const chip = (side) => make(`b.chip.${side}`, {}, side.toUpperCase());

// A list of which one member has the focus: arrow keys, Home and End move it (roving tabindex).
export function rove(container, selector, { vertical = false, select = null } = {}) {
  const [back, on] = vertical ? ["ArrowUp", "ArrowDown"] : ["ArrowLeft", "ArrowRight"];
  container.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const all = [...container.querySelectorAll(selector)].filter((one) => !one.disabled && !one.hidden);
    const at = all.indexOf(event.target.closest(selector));
    const goal = { [back]: at - 1, [on]: at + 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || goal === undefined) return;
    event.preventDefault();
    const chosen = all[(goal + all.length) % all.length];
    for (const one of all) one.tabIndex = one === chosen ? 0 : -1;
    chosen.focus();
    select?.(chosen);
  });
}

let spoken = 0;
// Said once to a screen reader, politely; a later word replaces one that was not read yet.
export function say(words) {
  clearTimeout(spoken);
  spoken = setTimeout(() => { refill(find("spoken"), words); }, 150);
}

// Runs only the last of many calls, after a rest of so many milliseconds.
export function calm(work, rest) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), rest);
  };
}
