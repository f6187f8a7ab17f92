// For the administrator: who holds up whom, with a line to copy; namespaces; who is connected; and all of it as text,
// to be sent to a colleague.

import {html, useState} from './vendor/preact.js';
import {Failure, rpc, settled, useAnswer, usePolled} from './api.js';
import {addressOf} from './route.js';
import {Table} from './table.js';
import {count, Copy, duration, localTime, plural, Title, Trouble, Waiting} from './ui.js';

const EVERY = 3000;  // ms between two looks

const since = seconds => seconds === null || seconds === undefined ? '' : duration(seconds * 1000);

// ---- who holds up whom ------------------------------------------------------------------------------------

/** A session or prepared transaction, and what ends it. */
function Holder({one}) {
  const who = [one.application || one.user, one.client].filter(Boolean).join(' at ');
  return html`<p class="holder"><b>${one.gid ? `prepared transaction ${one.gid}` : `${who} (process ${one.pid})`}</b>
      ${' '}${one.state} for ${since(one.seconds)}${one.query && html`: <code>${one.query}</code>`}</p>
    ${one.statement && html`<p class="statement"><code>${one.statement}</code> <${Copy} text=${one.statement} /></p>`}`;
}

function Blocked({value}) {
  const {readers, waiting, prepared, missing} = value;
  const held = prepared.filter(one => !readers.some(reader => reader.gid === one.gid));
  return html`<section class="part" aria-label="Who holds up whom">
    <h2>Who holds up whom</h2>
    ${missing && html`<p class="quiet">${missing}</p>`}
    ${readers.map(one => html`<div class="banner">
      ${one.position ? html`Readers of <b>${one.namespace}</b> are held at position ${count(one.position)} by` :
        html`Appends to <b>${one.namespace}</b>, not yet committed:`}
      <${Holder} one=${one} /></div>`)}
    ${waiting.map(one => html`<div class="banner">
      ${one.application || one.user} (process ${one.pid}) waits for the lock of a <b>${one.lock}</b>${
        one.namespace && ` of ${one.namespace}`} for ${since(one.seconds)}; it is held by
      ${one.blockedBy.map(by => html`<${Holder} one=${by} />`)}</div>`)}
    ${held.map(one => html`<div class="banner"><${Holder} one=${{...one, state: 'there'}} /></div>`)}
    ${!readers.length && !waiting.length && !held.length && html`<p class="quiet">Nobody.</p>`}
  </section>`;
}

// ---- tables -------------------------------------------------------------------------------------------------

const NAMESPACES = [
  {name: 'Namespace', width: '1fr', small: '1fr'}, {name: 'Description', width: '1.5fr'},
  {name: 'Messages', width: '110px', small: '110px', className: 'number'},
  {name: 'Created', width: '204px', className: 'time'},
];

function Namespaces({value: all}) {
  const row = n => [all[n].namespace, all[n].description, count(all[n].messageCount), localTime(all[n].createdAt)];
  return html`<section class="part" aria-label="Namespaces"><h2>Namespaces</h2><${Table} fit label="Namespaces" columns=${NAMESPACES}
    count=${all.length} row=${row} keyOf=${n => all[n].namespace}
    href=${n => addressOf('settings', {name: all[n].namespace})} /></section>`;
}

const bytes = number => number < 10000 ? count(number) + ' B' : number < 1e7 ? count(Math.round(number / 1024)) + ' KiB' :
  count(Math.round(number / 1048576)) + ' MiB';

const CONNECTIONS = [
  {name: 'From', width: '1.2fr', small: '136px'}, {name: 'Worker', width: '70px', className: 'number'},
  {name: 'State', width: '100px', small: '64px'}, {name: 'Asks for', width: '1fr', small: '1fr'},
  {name: 'Age', width: '80px', className: 'number'}, {name: 'Quiet for', width: '84px', className: 'number'},
  {name: 'Requests', width: '90px', className: 'number'}, {name: 'In', width: '90px', className: 'number'},
  {name: 'Out', width: '90px', className: 'number'},
  {name: 'Unread', width: '90px', small: '66px', className: 'number'},
];

function Connections({value}) {
  const {connections: all, subscriptions, silentWorkers} = value;
  const row = n => {
    const one = all[n];
    return [one.remote, one.worker, one.state, one.path, since(one.age), since(one.quiet), count(one.requests),
            bytes(one.bytesIn), bytes(one.bytesOut), bytes(one.unsentBytes)];
  };
  return html`<section class="part" aria-label="Connections">
    <h2>${plural(all.length, 'connection')}, ${plural(subscriptions, 'subscription')}</h2>
    ${silentWorkers > 0 && html`<p class="banner"><b>${plural(silentWorkers, 'worker')} did not answer.</b> What is
      theirs is missing.</p>`}
    <${Table} fit=${all.length <= 30} label="Connections" columns=${CONNECTIONS} count=${all.length} row=${row} />
  </section>`;
}

// ---- as text --------------------------------------------------------------------------------------------------

const lineOf = row => Object.entries(row).map(([key, value]) =>
  `${key}=${typeof value === 'object' ? JSON.stringify(value) : value}`).join('  ');

const section = (title, rows) => `\n${title}${rows.length ? '' : ': none'}\n` + rows.map(row => '  ' + lineOf(row) + '\n').join('');

/** What is asked for fails by itself: its line says why. */
const tried = (method, ...args) => rpc(method, ...args).catch(error => ({error: error.message}));

const rows = (answer, name) => answer.error ? [answer] : name ? answer[name] : answer;

async function snapshot() {
  const [stats, health, namespaces, consumers, blocked, connections] = await Promise.all([tried('sys.stats'),
    tried('sys.health'), tried('ns.list'), tried('consumer.list'), tried('sys.blocked'), tried('sys.connections')]);
  return `Millrace ${stats.version} at ${location.host}, ${new Date().toISOString()}\n` +
    section('Server', [stats, health]) + section('Namespaces', rows(namespaces)) +
    section('Consumers', rows(consumers)) + section('Held back by', rows(blocked, 'readers')) +
    section('Waiting', rows(blocked, 'waiting')) + section('Prepared', rows(blocked, 'prepared')) +
    section('Connections', rows(connections, 'connections'));
}

function Snapshot() {
  const [text, setText] = useState();
  return html`<section class="part" aria-label="Snapshot">
    <div class="tools"><h2>Snapshot</h2>
      <button onClick=${async () => setText(await snapshot())}>Take one</button>
      ${text && html`<${Copy} text=${text} />`}
      <span class="quiet">All of this as text. It has names and statements, but no token.</span></div>
    ${text && html`<textarea class="mono" readonly rows="12" aria-label="Snapshot" value=${text}></textarea>`}
  </section>`;
}

// ---- the view ----------------------------------------------------------------------------------------------------

function Server({value}) {
  const facts = [['Version', value.version], ['Runs for', duration(value.uptimeMs)], ['Workers', value.workers],
                 ['Positions up to', count(value.head)], ['Its clock', localTime(value.time)]];
  return html`<dl class="facts panel">${facts.map(([name, fact]) => html`<div><dt>${name}</dt><dd>${fact}</dd></div>`)}</dl>`;
}

/** One part of the view: what shows an answer, and the answer, or why there is none. */
const part = (show, answer, error = answer instanceof Failure ? answer : undefined) =>
  error ? html`<${Trouble} error=${error} />` : answer ? html`<${show} value=${answer} />` : html`<${Waiting} />`;

export function AdminView() {
  const {value: [stats, blocked, connections] = [], error} = usePolled(
    () => settled([['sys.stats'], ['sys.blocked'], ['sys.connections']]), EVERY, []);
  const namespaces = useAnswer(() => rpc('ns.list'), []);
  return html`<${Title} title="Server" />
    ${error ? html`<${Trouble} error=${error} />` : part(Server, stats)}
    ${part(Blocked, blocked)}
    ${part(Namespaces, namespaces.value, namespaces.error)}
    ${part(Connections, connections)}
    <${Snapshot} />`;
}
