// Small helpers for the document. Text goes in as text, never as markup.

export const by = id => document.getElementById(id);

/** An element: h("td", {className: "figure", dataset: {name: "rate"}}, "30 Hz"). */
export function h(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "dataset") Object.assign(made.dataset, value);
    else if (name === "attributes") for (const [key, each] of Object.entries(value)) made.setAttribute(key, each);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/** Sets a text only where it differs: a selection, and what a screen reader reads, is left alone. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, is) {
  if (element.hidden === Boolean(is)) element.hidden = !is;
}

/** Keeps one child for each item, by key; makes those that are new, removes those that are gone, keeps their order. */
export function keep(parent, items, key, make, update) {
  const old = new Map([...parent.children].map(child => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = old.get(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    old.delete(name);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update?.(child, item);
  }
  for (const child of old.values()) child.remove();
}

const TYPE_PX = 15;
/** How much larger the page's type is than usual: on a wall screen what is drawn grows with it. */
export const enlarged = () => parseFloat(getComputedStyle(document.documentElement).fontSize) / TYPE_PX;

/** A canvas as large as its box, in device pixels; gives its pen, and its size in units of which each is `unit` CSS pixels. */
export function pen(canvas, unit = 1) {
  const scale = Math.min(devicePixelRatio || 1, 3),
    { clientWidth, clientHeight } = canvas;
  const wide = Math.round(clientWidth * scale),
    high = Math.round(clientHeight * scale);
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  const context = canvas.getContext("2d"),
    width = clientWidth / unit,
    height = clientHeight / unit;
  context.setTransform(scale * unit, 0, 0, scale * unit, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

let colours = {};
/** A colour of the theme, by its name in base.css. */
export function colour(name) {
  colours[name] ??= getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return colours[name];
}
const forget = () => {
  colours = {};
};
addEventListener("themechange", forget);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", forget);

export const LABEL_COLOURS = 8;
export const labelColour = (labels, label) => colour(`label-${Math.max(0, labels.indexOf(label)) % LABEL_COLOURS}`);

export const isStill = matchMedia("(prefers-reduced-motion: reduce)");
