// The tabs: arrow keys move between them (roving tabindex), each has its panel and its place in the
// address; a panel's work begins when it is first seen.

import { find, rove } from "./dom.js";
import { change, on, state } from "./store.js";

const NAMES = ["write", "surprise", "scale", "config", "training", "report"];

export function mount(panels) { // {name: shown()}: runs each time the tab is shown
  const list = find("tabs"), tabs = NAMES.map((name) => find(`tab-${name}`));
  const show = () => {
    const now = NAMES.includes(state.tab) ? state.tab : "write";
    NAMES.forEach((name, i) => {
      tabs[i].setAttribute("aria-selected", String(name === now));
      tabs[i].tabIndex = name === now ? 0 : -1;
      find(`panel-${name}`).hidden = name !== now;
    });
    tabs[NAMES.indexOf(now)].scrollIntoView({ block: "nearest", inline: "nearest" });
    panels[now]?.();
  };
  tabs.forEach((tab, i) => tab.addEventListener("click", () => change({ tab: NAMES[i] })));
  rove(list, "[role=tab]", { select: (tab) => tab.click() });
  on(["tab"], show);
  show();
}

export function turnTo(number) { // from the keyboard: 1 is the first
  change({ tab: NAMES[number - 1] });
  find(`tab-${state.tab}`).focus();
}
