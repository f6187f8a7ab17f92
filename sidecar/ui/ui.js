// Small things that views share.

import {html, useEffect, useState} from './vendor/preact.js';
import {Failure} from './api.js';
import {isRedacted} from './json.js';
import {streamAddress} from './route.js';

/** Why something could not be shown. */
export function Trouble({error, retry}) {
  return html`<div class="trouble" role="alert">
    <b>${error instanceof Failure ? error.message : String(error)}</b>
    ${retry && html` <button onClick=${retry}>Try again</button>`}
  </div>`;
}

/** 1234567 as 1,234,567 (of numbers; positions too). */
export const count = number => Number(number).toLocaleString('en-US');

/** 1 claim, 2 claims. */
export const plural = (number, what) => count(number) + ' ' + what + (number === 1 ? '' : 's');

const pad = (number, width = 2) => String(number).padStart(width, '0');

/** A time of the server in this browser's zone: 2026-11-29 08:10:22.123 */
export function localTime(time) {
  const date = new Date(time);
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${pad(date.getHours())}:` +
    `${pad(date.getMinutes())}:${pad(date.getSeconds())}.${pad(date.getMilliseconds(), 3)}`;
}

const UNITS = [[86400000, 'd'], [3600000, 'h'], [60000, 'min'], [1000, 's'], [1, 'ms']];

/** Milliseconds in one unit, rounded down: 850 ms, 12 s, 5 min, 3 h, 2 d. */
export function duration(ms) {
  const [size, unit] = UNITS.find(([least]) => ms >= least) || UNITS[4];
  return Math.floor(ms / size) + ' ' + unit;
}

/** Milliseconds of what was written so; undefined: it was not. */
export function readDuration(text) {
  const [, number, unit] = /^(\d{1,12}) *(d|h|min|s|ms)$/.exec(text.trim()) || [];
  return unit && number > 0 ? number * UNITS.find(one => one[1] === unit)[0] : undefined;
}

/** The same without a remainder: 90 s, 1,500 ms. */
export function exactly(ms) {
  const [size, unit] = UNITS.find(([size]) => ms && ms % size === 0) || UNITS[4];
  return count(ms / size) + ' ' + unit;
}

const MOMENT = 5000;  // ms, that a clock goes by
const clocks = new Set();
setInterval(() => document.hidden || clocks.forEach(tell => tell()), MOMENT);

function agoOf(time) {
  const ms = Date.now() - new Date(time);
  return ms < MOMENT ? 'now' : duration(Math.floor(ms / MOMENT) * MOMENT) + ' ago';
}

/** How long ago a time was; it goes on while it is seen, and is drawn anew when it reads otherwise. */
export function Ago({time}) {
  const [, setText] = useState();
  useEffect(() => {
    const tell = () => setText(agoOf(time));
    clocks.add(tell);
    return () => clocks.delete(tell);
  }, [time]);
  return html`<time datetime=${time} title=${localTime(time)}>${agoOf(time)}</time>`;
}

/** How a message's data begins, in a cell. */
export const start = message => !isRedacted(message) ? message.data.slice(0, 400) :
  html`<i>content was taken away</i>${message.data !== '{}' && ' ' + message.data.slice(0, 300)}`;

/** Its type, in a cell; where there is no room for its data it says what start() says. */
export const typeOf = message => !isRedacted(message) ? message.type :
  html`${message.type}<i class="narrow"> content was taken away</i>`;

export const StreamLink = ({name}) => html`<a href=${streamAddress(name)}>${name}</a>`;

/** The head of a view, which is the tab's title too; what else it has goes to the right. */
export function Title({title, of, children}) {
  useEffect(() => {
    document.title = (of !== undefined ? of + ' · ' : '') + title + ' · Millrace';
  }, [title, of]);
  return html`<div class="title"><h1>${of !== undefined && html`<small>${title}</small> `}${of ?? title}</h1>${
    children}</div>`;
}

/** Where a page came neither by https nor from this machine, browsers have the old way only. */
async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

/** A button that copies `text` (or what it returns). */
export function Copy({text, label = 'Copy'}) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await toClipboard(typeof text === 'function' ? text() : text);
    setDone(true);
    setTimeout(() => setDone(false), 1200);
  };
  return html`<button class="copy" onClick=${copy}>${done ? 'Copied' : label}</button>`;
}

/** What a page is told while it waits. */
export const Waiting = () => html`<p class="quiet" role="status">…</p>`;
