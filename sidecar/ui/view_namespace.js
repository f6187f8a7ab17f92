// A namespace at a glance: how fast it grows, how far behind its consumers are, what changed lately, and who holds
// readers back.  It looks once a second at most, whatever the load, and reads the streams only when there is something
// new.

import {html, useRef, useState} from './vendor/preact.js';
import {batch, isAdministrator, namespace, rpc, usePoll} from './api.js';
import {KEPT, Plot} from './plot.js';
import {addressOf, streamAddress} from './route.js';
import {Table} from './table.js';
import {Ago, Copy, count, duration, plural, Title, Trouble} from './ui.js';

const STEP = 5;  // seconds, of what was before the page was opened
const STREAMS = 100;
const HELD = 3;  // seconds that readers are held back until it is said: any append does so for a moment
const FIRST_SCAN = 50000, NEXT_SCAN = 10000;  // messages that are looked at for streams

// ---- who holds readers back -------------------------------------------------------------------------------

function Banner({held}) {
  const [who, setWho] = useState();
  usePoll(async () => {
    if (isAdministrator())
      await rpc('sys.blocked').then(
        answer => setWho(answer.readers.filter(one => one.namespace === namespace())), () => {});
  }, 2000, []);
  return html`<div class="banner" role="status">
    <b>Readers are held back</b> at position ${count(held.from)}, for ${duration(held.seconds * 1000)}: a transaction
    that is open has yet to commit or end.
    ${!isAdministrator() && ' The administrator sees whose.'}
    ${(who || []).map(one => html`<p>
      ${one.gid ? html`Prepared transaction <b>${one.gid}</b>` : html`Process <b>${one.pid}</b>`}
      ${[one.user, one.application, one.client].filter(word => word).map(word => html`, ${word}`)}, ${one.state || 'open'} for
      ${' '}${duration(one.seconds * 1000)}. ${one.query && html`<code>${one.query.slice(0, 200)}</code>`}
      <br /><code>${one.statement}</code> <${Copy} text=${one.statement} /></p>`)}
  </div>`;
}

// ---- streams that changed lately ---------------------------------------------------------------------------

const COLUMNS = [
  {name: 'Stream', width: 'minmax(140px, 1fr)', small: '1fr'},
  {name: 'Last position', width: '130px', small: '90px', className: 'number'},
  {name: 'Global', width: '130px', className: 'number'},
  {name: 'Last message', width: '130px', small: '92px', className: 'time'},
];

function Recent({streams}) {
  return html`<${Table} label="Streams that changed lately" columns=${COLUMNS} count=${streams.length}
    href=${index => streamAddress(streams[index].stream)}
    row=${index => {
      const {stream, version, globalPosition, lastActivity} = streams[index];
      return [stream, count(version), count(globalPosition), html`<${Ago} time=${lastActivity} />`];
    }} empty="No messages yet." />`;
}

// ---- the view --------------------------------------------------------------------------------------------

/** How many messages a second came before the page was opened: {times, rates, lags}. */
async function lookBack(now) {
  const times = Array.from({length: KEPT / STEP + 1}, (_, n) => now - KEPT + n * STEP);
  const places = await batch(times.map(time => ['position.at', new Date(time * 1000).toISOString()]));
  const rates = places.map(({position}, n) => n ? (position - places[n - 1].position) / STEP : null);
  return {times, rates, lags: times.map(() => null)};
}

const recent = scanLimit => ['streams.recent', {limit: STREAMS, scanLimit}];

/** The streams that changed lately: those of before, and those that changed since. */
function joined(before, since) {
  const all = new Map([...before, ...since].map(one => [one.stream, one]));
  return [...all.values()].sort((a, b) => b.globalPosition - a.globalPosition).slice(0, STREAMS);
}

/**
 * One look, in one request as long as as many messages come as since the one before (head; came; streams): {stats,
 * consumers, head, came, streams}.
 */
async function look({head, came, streams = []}) {
  const foreseen = came && Math.min(2 * came, NEXT_SCAN);
  const [stats, consumers, since] = await batch([
    ['sys.stats'], ['consumer.list'], ...(foreseen ? [recent(foreseen)] : [])]);
  const now = head === undefined ? FIRST_SCAN : Math.min(stats.head - head, NEXT_SCAN);
  const more = now > foreseen || !since && now > 0 ? await rpc(...recent(now)) : since;
  return {stats, consumers, head: stats.head, came: stats.head - (head ?? stats.head),
          streams: more ? joined(streams, more.streams) : streams};
}

/** What is known of the namespace, looked at once a second. */
function useGlance() {
  const [glance, setGlance] = useState({times: [], rates: [], lags: []});
  const [error, setError] = useState();
  const before = useRef({});
  usePoll(async () => {
    try {
      const seen = await look(before.current);
      const {stats, consumers, came, streams} = seen;
      const now = Date.parse(stats.time) / 1000;
      const {time} = before.current;
      const past = time === undefined ? await lookBack(now) : undefined;
      const rate = past || now <= time ? null : Math.max(0, came / (now - time));
      const lag = consumers.length ? Math.max(...consumers.map(one => one.lag)) : null;
      before.current = {...seen, time: now};
      setGlance(was => {
        const {times, rates, lags} = past || was;
        const from = times.findIndex(one => one > now - KEPT);
        return {stats, consumers, streams, times: [...times.slice(from), now],
                rates: [...rates.slice(from), rate ?? rates[rates.length - 1]], lags: [...lags.slice(from), lag]};
      });
      setError();
    } catch (failed) {
      setError(failed);
    }
  }, 1000, []);
  return {...glance, error};
}

export function NamespaceView() {
  const {stats, consumers, times, rates, lags, streams, error} = useGlance();
  const slowest = (consumers || []).filter(one => one.lag > 0).sort((a, b) => b.lag - a.lag)[0];
  return html`
    <${Title} title="Namespace" of=${namespace()}>
      ${stats && html`<span class="quiet">about ${plural(stats.messageCount, 'message')}, the last at ${count(stats.head)}</span>`}
    <//>
    ${error && html`<${Trouble} error=${error} />`}
    ${stats && stats.heldBack && stats.heldBack.seconds >= HELD && html`<${Banner} held=${stats.heldBack} />`}
    <div class="plots">
      <${Plot} label="Messages a second" times=${times} values=${rates} />
      <${Plot} label=${html`Lag of ${slowest ? html`<a href=${addressOf('consumers', {name: slowest.consumer})}>${
        slowest.consumer}</a>` : 'consumers'}`} times=${times} values=${lags} />
    </div>
    <h2>Changed lately</h2>
    <${Recent} streams=${streams || []} />`;
}
