// Consumers: how far behind each of them is, who works for it and what failed.  What changes one is behind a switch,
// and each change asks for the consumer's name.

import {html, useRef, useState} from './vendor/preact.js';
import {batch, rpc, usePolled} from './api.js';
import {Table} from './table.js';
import {Plot} from './plot.js';
import {addressOf, categoryAddress, streamAddress} from './route.js';
import {readTime} from './box.js';
import {Changes, Choice, Field, Switch, Tick} from './change.js';
import {count, duration, exactly, localTime, plural, StreamLink, Title, Trouble, Waiting} from './ui.js';

const EVERY = 2000;  // ms between two looks
const KEPT = 150;  // looks that a trend has
const PAGE = 100;  // streams shown at a time

// ---- trends ---------------------------------------------------------------------------------------------

const trends = new Map();  // by consumer: [{at, lag}], the newest last; goes on while other views are shown

function remember(infos) {
  for (const {consumer, lag} of infos) {
    const trend = trends.get(consumer) || [];
    trend.push({at: Date.now(), lag});
    trends.set(consumer, trend.slice(-KEPT));
  }
  return infos;
}

/** What a lag does, from its values of the last 20 seconds. */
function tendency(trend) {
  const last = trend[trend.length - 1];
  const before = trend.find(one => last.at - one.at <= 20000);
  const rate = (last.lag - before.lag) / ((last.at - before.at) / 1000 || 1);
  if (Math.abs(rate) < 0.05)
    return last.lag ? 'steady' : 'caught up';
  const each = count(Math.abs(rate) < 10 ? Math.abs(rate).toFixed(1) : Math.round(Math.abs(rate))) + '/s';
  return rate > 0 ? 'grows by ' + each : `falls by ${each}, done in ${duration(last.lag / -rate * 1000)}`;
}

function Trend({consumer}) {
  const trend = trends.get(consumer) || [];
  const most = Math.max(1, ...trend.map(one => one.lag));
  const span = Math.max(30, trend.length) - 1;
  const points = trend.map((one, n) => `${100 - (trend.length - 1 - n) / span * 100},${29 - one.lag / most * 28}`);
  return html`<svg class="trend" viewBox="0 0 100 30" preserveAspectRatio="none" role="img"
      aria-label="Lag of the last minutes, at most ${count(most)}">
    <polyline points=${points.join(' ')} />
  </svg>`;
}

// ---- all of them ------------------------------------------------------------------------------------------

const lagOf = info => (info.lag > 10000 ? '≈ ' : '') + count(info.lag);

const State = ({info}) => html`<span class="state ${info.state}">${info.state}</span>`;

const reads = info => info.stream ?? info.category ?? (info.query ? JSON.stringify(info.query) : 'everything');

const COLUMNS = [
  {name: 'Consumer', width: '2fr', small: '2fr'}, {name: 'Reads', width: '1fr'}, {name: 'State', width: '90px'},
  {name: 'Lag', width: '100px', small: '84px', className: 'number'}, {name: 'Trend', width: '110px', small: '70px'},
  {name: 'Oldest', width: '80px', className: 'number'}, {name: 'In flight', width: '84px', className: 'number'},
  {name: 'Retried', width: '84px', className: 'number'},
  {name: 'Parked', width: '74px', small: '64px', className: 'number'},
];

function Consumers() {
  const {value: infos, error} = usePolled(() => rpc('consumer.list').then(remember), EVERY, []);
  const row = n => {
    const info = infos[n];
    return [info.consumer, reads(info), html`<${State} info=${info} />`, lagOf(info),
            html`<${Trend} consumer=${info.consumer} />`, info.lag ? duration(info.lagMs) : '', count(info.inFlight),
            count(info.retrying), html`<span class=${info.parked ? 'bad' : ''}>${count(info.parked)}</span>`];
  };
  return html`<${Title} title="Consumers" />
    ${error && html`<${Trouble} error=${error} />`}
    ${infos ? html`<${Table} label="Consumers" columns=${COLUMNS} count=${infos.length} row=${row}
      keyOf=${n => infos[n].consumer} href=${n => addressOf('consumers', {name: infos[n].consumer})}
      empty="No consumer. consumer.create makes one." />` : !error && html`<${Waiting} />`}`;
}

// ---- one of them --------------------------------------------------------------------------------------------

async function look(name, more) {
  const [info, {claims}, streams] = await batch([
    ['consumer.info', name], ['consumer.claims', name], ['consumer.streams', name, more]]);
  remember([info]);
  return {info, claims, streams};
}

function Facts({info}) {
  const facts = [
    ['Lag', html`<b>${lagOf(info)}</b> <span class="quiet">${tendency(trends.get(info.consumer))}</span>`],
    ['Oldest', info.lag ? duration(info.lagMs) : 'none'],
    ['State', html`<${State} info=${info} /> ${info.reason}`],
    ['Reads', info.query ? reads(info) : info.stream !== undefined ? html`<${StreamLink} name=${info.stream} />` :
      html`<a href=${categoryAddress(info.category ?? '')}>${reads(info)}</a>`],
    ['Types', info.types?.join(', ')], ['Correlation', info.correlation], ['Ordering', info.ordering],
    ['Handed out to', html`<a href=${categoryAddress('', info.ceiling)}>${count(info.ceiling)}</a>`],
    ['Settled to', count(info.floor)],
    ['In flight', plural(info.inFlight, 'message') + ' in ' + plural(info.claims, 'claim')],
    ['Streams', `waiting ${count(info.waiting)}, of them retried ${count(info.retrying)}; parked ${count(info.parked)}`],
    ['Created', localTime(info.createdAt)],
    ...Object.entries(info.options || {}).map(([key, value]) => /Ms$/.test(key) ? [key.slice(0, -2), exactly(value)] : [key, typeof value === 'number' ? count(value) : String(value)]),
  ];
  return html`<dl class="facts panel">${facts.filter(([, value]) => value !== undefined).map(([name, value]) =>
    html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

const CLAIM_COLUMNS = [
  {name: 'Claim', width: '160px', small: '140px'}, {name: 'Member', width: '1fr', small: '1fr'},
  {name: 'Messages', width: '90px', small: '84px', className: 'number'},
  {name: 'Streams', width: '90px', className: 'number'}, {name: 'Held for', width: '90px', className: 'number'},
  {name: 'Lease ends in', width: '110px', className: 'number'},
];

function Claims({claims}) {
  const row = n => {
    const one = claims[n];
    return [one.claim, one.member || '—', count(one.messages), count(one.streams), duration(one.ageMs),
            one.expiresInMs ? duration(one.expiresInMs) : 'ran out'];
  };
  return html`<h2>Open claims</h2><${Table} fit label="Open claims" columns=${CLAIM_COLUMNS} count=${claims.length}
    row=${row} keyOf=${n => claims[n].claim} empty="Nobody works for it in this moment." />`;
}

const STREAM_COLUMNS = [
  {name: 'Stream', width: '1.5fr', small: '1fr'}, {name: 'At', width: '70px', small: '50px', className: 'number'},
  {name: 'Attempts', width: '80px', className: 'number'}, {name: 'Now', width: '130px', small: '100px'},
  {name: 'Error', width: '2fr', small: '1fr'},
];

const what = one => one.parked ? html`<span class="bad">parked</span>` : one.claim ? 'being worked on' :
  one.retryInMs !== undefined ? 'again in ' + duration(one.retryInMs) : 'waits';

/** chosen: a Set of names, or undefined where nothing is chosen. */
function Streams({streams, chosen, choose}) {
  const columns = chosen ? [{name: '✓', width: '34px', small: '34px'}, ...STREAM_COLUMNS] : STREAM_COLUMNS;
  const row = n => {
    const one = streams[n];
    const cells = [html`<a href=${streamAddress(one.stream, one.position)}>${one.stream}</a>`, count(one.position),
                   one.attempts || '', what(one), html`<span title=${one.error}>${one.error}</span>`];
    return chosen ? [html`<input type="checkbox" aria-label="Choose ${one.stream}" checked=${chosen.has(one.stream)}
      onChange=${event => choose(one.stream, event.target.checked)} />`, ...cells] : cells;
  };
  return html`<${Table} fit label="Streams that wait, are retried or parked" columns=${columns} count=${streams.length}
    row=${row} keyOf=${n => streams[n].stream} empty="None." />`;
}

// ---- what changes one -----------------------------------------------------------------------------------------

async function forEach(chosen, work) {
  for (const one of chosen)
    await work(one);
  return chosen.length;
}

/** Where a consumer is to begin anew: what consumer.reset takes as position. */
async function positionFor({to, at}) {
  if (to === 'position')
    return Number(at);
  return to === 'time' ? (await rpc('position.at', readTime(at).toISOString())).position : to;
}

const isPosition = text => /^\s*\d{1,16}\s*$/.test(text);

const nameOf = ({info}) => info.consumer;

// given: {info, chosen: streams, to, at, keepParked}.
const CHANGES = {
  unpark: {
    label: 'Unpark the chosen streams', ready: given => given.chosen.some(one => one.parked),
    run: async ({info, chosen}) => 'Unparked: ' + await forEach(chosen.filter(one => one.parked), one =>
      rpc('consumer.unpark', info.consumer, {stream: one.stream})),
  },
  unparkAll: {
    label: 'Unpark all streams', ready: given => given.info.parked > 0,
    run: async ({info}) => 'Unparked: ' + (await rpc('consumer.unpark', info.consumer)).unparked,
  },
  skip: {
    label: 'Skip the message at which the chosen streams are', ready: given => given.chosen.length > 0,
    run: async ({info, chosen}) => 'Skipped: ' + await forEach(chosen, one =>
      rpc('consumer.skip', info.consumer, {stream: one.stream, position: one.position})),
  },
  pause: {
    label: 'Pause: no more claims', ready: given => given.info.state === 'running',
    run: async ({info}) => 'Now ' + (await rpc('consumer.pause', info.consumer)).state,
  },
  resume: {
    label: 'Resume', ready: given => given.info.state !== 'running',
    run: async ({info}) => 'Now ' + (await rpc('consumer.resume', info.consumer)).state,
  },
  reset: {
    label: 'Begin anew: all claims are lost', fields: ResetFields,
    ready: ({to, at}) => to === 'position' ? isPosition(at) : to !== 'time' || readTime(at) !== undefined,
    run: async given => {
      const position = await positionFor(given);
      await rpc('consumer.reset', given.info.consumer, {position, keepParked: given.keepParked});
      return 'Begins anew at ' + (position > 0 ? count(position) : position);
    },
  },
};

const MOVE = {
  label: 'Move its position', fields: MoveFields, ready: given => isPosition(given.at), word: nameOf,
  run: async ({info, at}) =>
    'Now at ' + (await rpc('consumer.move', info.consumer, {from: info.ceiling, to: Number(at)})).position,
};

Object.values(CHANGES).forEach(change => change.word = nameOf);

function ResetFields({given, give}) {
  const {to, at, keepParked} = given;
  return html`<${Choice} name="to" value=${to} give=${give} options=${[['start', 'the start'], ['end', 'the end'],
      ['position', 'a global position'], ['time', 'a time']]}>at<//>
    ${(to === 'position' || to === 'time') && html`<${Field} name="at" value=${at} give=${give}
      placeholder=${to === 'time' ? '2026-11-29 08:00' : '1'}>${to}<//>`}
    <${Tick} name="keepParked" checked=${keepParked} give=${give}>leave parked streams parked<//>`;
}

function MoveFields({given, give}) {
  return html`<${Field} name="at" value=${given.at} give=${give}>from ${count(given.info.ceiling)} to<//>`;
}

function Consumer({name}) {
  const [cursor, setCursor] = useState();
  const [parked, setParked] = useState();
  const [chosen, setChosen] = useState();  // undefined: nothing may be changed
  const seen = useRef(new Map());  // what the chosen streams were when they were last shown, by name
  const {value, error, reload} = usePolled(() => look(name, {limit: PAGE, cursor, parked}), EVERY, [name, cursor, parked]);
  if (!value)
    return error ? html`<${Title} title="Consumer" of=${name} /><${Trouble} error=${error} />` : html`<${Waiting} />`;
  const {info, claims, streams} = value;
  const trend = trends.get(name);
  streams.forEach(one => seen.current.set(one.stream, one));
  const choose = (stream, on) => setChosen(before => {
    const next = new Set(before);
    on ? next.add(stream) : next.delete(stream);
    return next;
  });
  const show = which => () => { setParked(which); setCursor(); };
  const kinds = [['All', undefined], ['Parked', true], ['Others', false]];
  return html`<${Title} title="Consumer" of=${name}>
      <${Switch} on=${chosen !== undefined} set=${on => setChosen(on ? new Set() : undefined)} />
    </>
    ${error && html`<${Trouble} error=${error} />`}
    ${chosen && html`<${Changes} label="Change this consumer" named="consumer’s name"
      changes=${info.ordering === 'manual' ? {...CHANGES, move: MOVE} : CHANGES}
      initial=${{to: 'start', at: '', keepParked: false}}
      context=${{info, chosen: [...chosen].map(one => seen.current.get(one))}}
      onDone=${() => { setChosen(new Set()); reload(); }} />`}
    <${Facts} info=${info} />
    <${Plot} label="Lag" times=${trend.map(one => one.at / 1000)} values=${trend.map(one => one.lag)} />
    <${Claims} claims=${claims} />
    <div class="tools"><h2>Streams that wait, are retried or parked</h2>
      ${kinds.map(([label, which]) => html`<button aria-pressed=${parked === which} onClick=${show(which)}>${label}</button>`)}
    </div>
    <${Streams} streams=${streams} chosen=${chosen} choose=${choose} />
    ${(cursor !== undefined || streams.length === PAGE) && html`<div class="tools">
      <button disabled=${cursor === undefined} onClick=${() => setCursor()}>First</button>
      <button disabled=${streams.length < PAGE} onClick=${() => setCursor(streams[streams.length - 1].stream)}>More</button>
    </div>`}`;
}

export function ConsumersView({parameters}) {
  return parameters.name !== undefined ? html`<${Consumer} key=${parameters.name} name=${parameters.name} />` :
    html`<${Consumers} />`;
}
