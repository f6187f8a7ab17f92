// A plot of the last minutes: a line over time, whose scale follows its highest value.  It is SVG without an animation,
// and what moves with each value is one path, so that pages left open cost little.

import {html} from './vendor/preact.js';

const MINUTES = 5;

export const KEPT = MINUTES * 60;  // seconds

const short = number => number >= 1e6 ? (number / 1e6).toFixed(1) + ' M' : number >= 1e4 ? (number / 1e3).toFixed(0) + ' k' :
  number >= 1e3 ? (number / 1e3).toFixed(1) + ' k' : String(Math.round(number));

/** The least of 5, 10, 20, 50, 100, ... that is not below a number. */
function ceiling(number) {
  const ten = 10 ** Math.floor(Math.log10(Math.max(number, 5)));
  return [1, 2, 5, 10].map(each => each * ten).find(each => each >= Math.max(number, 5));
}

/** The line of points [x, y], a piece for each run of them that has values: its SVG path. */
const path = points => points.map(([x, y], n) =>
  y === null ? '' : (n && points[n - 1][1] !== null ? 'L' : 'M') + x.toFixed(1) + ' ' + y.toFixed(1)).join('');

/** times: in seconds, rising; values: one for each, or null; the last is said beside the label. */
export function Plot({label, times, values}) {
  const last = values[values.length - 1];
  const most = ceiling(Math.max(...values, 0));
  const end = times[times.length - 1];
  const line = path(times.map((time, n) =>
    [(time - end) / KEPT * 100 + 100, values[n] === null ? null : 100 - values[n] / most * 100]));
  return html`<figure class="panel plot"><figcaption>${label} <b>${last === undefined || last === null ? '–' : short(last)}</b></figcaption>
    <div class="drawn" aria-hidden="true">
      <span>${short(most)}</span><span>${short(most / 2)}</span><span>0</span>
      <svg viewBox="0 0 100 100" preserveAspectRatio="none"><path class="grid" d="M0 0H100M0 50H100M0 100H100" /><path d=${line} /></svg>
      <div>${Array.from({length: MINUTES}, (_, n) => html`<span>−${MINUTES - n} min</span>`)}<span>now</span></div>
    </div></figure>`;
}
