// Consumers: how far behind each of them is, who works for it and what failed.  What changes one is behind a switch,
// and each change asks for the consumer's name.

import {html, useRef, useState} from './vendor/preact.js';
import {batch, rpc, usePolled} from './api.js';
import {Table} from './table.js';
import {Plot} from './plot.js';
import {addressOf, categoryAddress, streamAddress} from './route.js';
import {readTime} from './box.js';
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

const isPosition = text => /^\d{1,16}$/.test(text);

// label, ready(given): whether it can be done; run(name, given): does it, and says what was done.
// given: {info, chosen: streams, to, at, keepParked}.
const CHANGES = {
  unpark: {
    label: 'Unpark the chosen streams', ready: given => given.chosen.some(one => one.parked),
    run: async (name, {chosen}) => 'Unparked: ' + await forEach(chosen.filter(one => one.parked), one =>
      rpc('consumer.unpark', name, {stream: one.stream})),
  },
  unparkAll: {
    label: 'Unpark all streams', ready: given => given.info.parked > 0,
    run: async name => 'Unparked: ' + (await rpc('consumer.unpark', name)).unparked,
  },
  skip: {
    label: 'Skip the message at which the chosen streams are', ready: given => given.chosen.length > 0,
    run: async (name, {chosen}) => 'Skipped: ' + await forEach(chosen, one =>
      rpc('consumer.skip', name, {stream: one.stream, position: one.position})),
  },
  pause: {
    label: 'Pause: no more claims', ready: given => given.info.state === 'running',
    run: async name => 'Now ' + (await rpc('consumer.pause', name)).state,
  },
  resume: {
    label: 'Resume', ready: given => given.info.state !== 'running',
    run: async name => 'Now ' + (await rpc('consumer.resume', name)).state,
  },
  reset: {
    label: 'Begin anew: all claims are lost', fields: ResetFields,
    ready: ({to, at}) => to === 'position' ? isPosition(at) : to !== 'time' || readTime(at) !== undefined,
    run: async (name, given) => {
      const position = await positionFor(given);
      await rpc('consumer.reset', name, {position, keepParked: given.keepParked});
      return 'Begins anew at ' + (position > 0 ? count(position) : position);
    },
  },
  move: {
    label: 'Move its position', manual: true, fields: MoveFields, ready: given => isPosition(given.at),
    run: async (name, {info, at}) =>
      'Now at ' + (await rpc('consumer.move', name, {from: info.ceiling, to: Number(at)})).position,
  },
};

function ResetFields({given, give}) {
  return html`<label>at <select value=${given.to} onChange=${event => give({to: event.target.value})}>
      <option value="start">the start</option><option value="end">the end</option>
      <option value="position">a global position</option><option value="time">a time</option>
    </select></label>
    ${(given.to === 'position' || given.to === 'time') && html`<label>${given.to} <input name="at" value=${given.at}
      placeholder=${given.to === 'time' ? '2026-11-29 08:00' : '1'} onInput=${event => give({at: event.target.value.trim()})} />
    </label>`}
    <label><input type="checkbox" checked=${given.keepParked}
      onChange=${event => give({keepParked: event.target.checked})} /> leave parked streams parked</label>`;
}

function MoveFields({given, give}) {
  return html`<label>from ${count(given.info.ceiling)} to <input name="at" value=${given.at}
    onInput=${event => give({at: event.target.value.trim()})} /></label>`;
}

function Changes({info, chosen, onDone}) {
  const [options, setOptions] = useState({change: 'unpark', to: 'start', at: '', keepParked: false});
  const [typed, setTyped] = useState('');
  const [outcome, setOutcome] = useState({});
  const given = {...options, info, chosen};
  const change = CHANGES[options.change];
  const give = some => setOptions(before => ({...before, ...some}));
  const submit = async event => {
    event.preventDefault();
    setOutcome({busy: true});
    setTyped('');
    setOutcome(await change.run(info.consumer, given).then(said => ({said}), error => ({error})));
    onDone();
  };
  const ready = change.ready(given) && typed === info.consumer && !outcome.busy;
  return html`<form class="panel changes" onSubmit=${submit} aria-label="Change this consumer">
    <div class="tools">
      <select aria-label="What to do" value=${options.change}
          onChange=${event => { give({change: event.target.value, at: ''}); setOutcome({}); }}>
        ${Object.entries(CHANGES).filter(([, one]) => !one.manual || info.ordering === 'manual').map(([name, one]) =>
          html`<option value=${name}>${one.label}</option>`)}
      </select>
      ${change.fields && html`<${change.fields} given=${given} give=${give} />`}
    </div>
    <div class="tools">
      <label>Type the consumer’s name <input name="confirm" value=${typed} autocomplete="off" spellcheck="false"
        onInput=${event => setTyped(event.target.value)} /></label>
      <button class="danger" disabled=${!ready}>Do it</button>
      <span role="status">${outcome.said}</span>
    </div>
    ${outcome.error && html`<${Trouble} error=${outcome.error} />`}
  </form>`;
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
      <label class="switch"><input type="checkbox" role="switch" checked=${chosen !== undefined}
        onChange=${event => setChosen(event.target.checked ? new Set() : undefined)} /> Allow changes</label>
    </>
    ${error && html`<${Trouble} error=${error} />`}
    ${chosen && html`<${Changes} info=${info} chosen=${[...chosen].map(one => seen.current.get(one))}
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
