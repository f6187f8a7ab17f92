// A message: its head, its data as a tree or as the server's text, what it came from and what it caused.

import {html, useRef, useState} from './vendor/preact.js';
import {rpc, text, useAnswer, usePolled} from './api.js';
import {isRedacted, items, kind, member, memberString, message, messages, parts, pretty} from './json.js';
import {addressOf, categoryAddress, goTo, messageAddress, streamAddress} from './route.js';
import {Table} from './table.js';
import {Changes, Switch, Tick} from './change.js';
import {Copy, count, localTime, StreamLink, Title, Trouble, Waiting} from './ui.js';
import {writeList} from './view_search.js';
import {MESSAGE_TABLE} from './view_stream.js';

const EVERY = 3000;  // ms between two looks at what it caused
const CAUSED = 20;
const SCAN = 10000;  // messages that are looked at for what it caused
const SHOWN = 200;  // parts of an object or array, before more is asked for
const LONG = 2000;  // characters of a string, likewise
const RAW = 500000;
const SMALL = 2000;  // characters of JSON of which so many levels are shown at first; else it is one
const LEVELS = 6;

// ---- JSON as a tree --------------------------------------------------------------------------------------

function Leaf({text}) {
  const [whole, setWhole] = useState(false);
  const cut = text.length > LONG && !whole;
  return html`<span class=${kind(text)}>${cut ? text.slice(0, LONG) : text}</span>${
    cut && html` <button class="more" onClick=${() => setWhole(true)}>${count(text.length - LONG)} more characters</button>`}`;
}

function Branch({text, open, name}) {
  const [shown, setShown] = useState(open > 0);
  const [limit, setLimit] = useState(SHOWN);
  const [all] = useState(() => parts(text));
  const ends = text[0] === '{' ? '{}' : '[]';
  if (all.length === 0)
    return html`${name}${ends}`;
  return html`<details open=${shown} onToggle=${event => event.target === event.currentTarget &&
      setShown(event.currentTarget.open)}>
    <summary>${name}${ends[0]}<span class="quiet">${shown ? '' : ` ${count(all.length)} ${ends[1]}`}</span></summary>
    ${shown && html`<ul>${all.slice(0, limit).map((part, n) => html`<li key=${n}><${Tree} text=${part.text}
      open=${open - 1} name=${part.key !== undefined ? html`<span class="key">${part.key}</span>: ` :
        html`<span class="quiet">${n}</span>: `} /></li>`)}
      ${all.length > limit && html`<li><button class="more" onClick=${() => setLimit(limit + 5 * SHOWN)}>${
        count(all.length - limit)} more</button></li>`}</ul>${ends[1]}`}
  </details>`;
}

function Tree({text, open, name}) {
  return text[0] === '{' || text[0] === '[' ? html`<${Branch} text=${text} open=${open} name=${name} />` :
    html`${name}<${Leaf} text=${text} />`;
}

function Raw({text}) {
  const [whole, setWhole] = useState(false);
  const [lines] = useState(() => text.length > RAW ? text : pretty(text));
  const cut = lines.length > RAW && !whole;
  return html`<pre tabindex="0">${cut ? lines.slice(0, RAW) : lines}</pre>${cut && html`<button class="more"
    onClick=${() => setWhole(true)}>${count(lines.length - RAW)} more characters</button>`}`;
}

function Json({label, text}) {
  const [raw, setRaw] = useState(false);
  return html`<section class="panel json part" aria-label=${label}>
    <div class="title"><h2>${label}</h2> <small>${count(text.length)} characters</small>
      <span class="tools">
        <button aria-pressed=${!raw} onClick=${() => setRaw(false)}>Tree</button>
        <button aria-pressed=${raw} onClick=${() => setRaw(true)}>Raw</button>
        <${Copy} text=${text} />
      </span></div>
    <div class="mono">${raw ? html`<${Raw} text=${text} />` : html`<${Tree} text=${text} open=${text.length < SMALL ? LEVELS : 1} />`}</div>
  </section>`;
}

// ---- what it is copied as --------------------------------------------------------------------------------

const quoteSql = text => `'${text.replace(/'/g, "''")}'`;
const quoteShell = text => `'${text.replace(/'/g, "'\\''")}'`;

function asJson(text) {
  const names = ['id', 'stream', 'type', 'position', 'globalPosition', 'data', 'metadata', 'time'];
  return '{' + items(text).map((item, n) => `"${names[n]}":${item}`).join(',') + '}';
}

const asCurl = id => `curl -s ${location.origin}/rpc -H "Authorization: Bearer $TOKEN" -d ${
  quoteShell(JSON.stringify(['message.get', id]))}`;
const asSql = id => `SELECT * FROM millrace.get_message(${quoteSql(id)});`;

// ---- what it came from, and what it caused --------------------------------------------------------------

// Keys of metadata that have an id.
const CORRELATION = ['correlationId', '$correlationId', 'correlation_id'];
const CAUSATION = ['causationId', '$causationId', 'causation_id'];

/** Links of a message's metadata: [{what, text, address}]. */
function originsOf({metadata}) {
  const found = [];
  const add = (what, text, address) => text !== undefined && found.push({what, text, address});
  for (const key of CAUSATION)
    add('Caused by', memberString(metadata, key), messageAddress(memberString(metadata, key)));
  for (const key of CORRELATION)
    add('Correlated with', memberString(metadata, key),
        addressOf('search', {path: 'metadata.' + key, value: member(metadata, key)}));
  const stream = memberString(metadata, 'causationMessageStreamName');
  const at = member(metadata, 'causationMessagePosition');
  add('Caused by', stream && (at ? `${stream} at ${at}` : stream), streamAddress(stream, at));
  add('Correlated with', memberString(metadata, 'correlationStreamName'),
      streamAddress(memberString(metadata, 'correlationStreamName')));
  return found;
}

/** The texts of a message's tags, each once. */
function tagsOf({metadata}) {
  const list = member(metadata, 'tags') || '';
  return list[0] === '[' ? [...new Set(items(list).filter(one => one[0] === '"').map(one => JSON.parse(one)))] : [];
}

/**
 * The first messages whose metadata names this one as their cause, among those that follow it.  `before` is what was
 * found up to where, from which this goes on: {rows, from, isAll}.
 */
async function findCaused({id, globalPosition}, before = {rows: [], from: globalPosition + 1, isAll: true}) {
  const {head} = await rpc('stream.head');
  if (!before.isAll || before.rows.length === CAUSED || before.from > head)
    return before;
  const wanted = [...CAUSATION.map(key => [key, id]), ['causationMessageGlobalPosition', globalPosition]];
  const answers = await Promise.all(wanted.map(([key, value]) => text('messages.search', {
    where: {path: ['metadata', key], value}, position: before.from, direction: 'forward', limit: CAUSED,
    scanLimit: SCAN,
  })));
  const found = answers.flatMap(answer => messages(member(answer, 'messages')));
  const all = new Map([...before.rows, ...found].map(one => [one.globalPosition, one]));
  return {rows: [...all.values()].sort((a, b) => a.globalPosition - b.globalPosition).slice(0, CAUSED), from: head + 1,
          isAll: answers.every(answer => member(answer, 'next') === 'null')};
}

/** Live, as long as all that follows is looked at. */
function Caused({of}) {
  const last = useRef();
  const {value, error, reload} = usePolled(async () => last.current = await findCaused(of, last.current), EVERY, [of.id]);
  if (error)
    return html`<${Trouble} error=${error} retry=${reload} />`;
  const {rows} = value || {rows: []};
  return html`<section class="part" aria-label="What it caused"><div class="title"><h2>What it caused</h2>
    <small>${value && (rows.length === CAUSED ? `the first ${CAUSED}` : value.isAll ? 'all of it' :
      `among the ${count(SCAN)} messages behind it`)}</small></div>
    <${Table} fit label="What it caused" columns=${MESSAGE_TABLE.columns} count=${rows.length}
      row=${index => MESSAGE_TABLE.cells(rows[index])} href=${index => messageAddress(rows[index].id)}
      empty=${value ? 'Nothing.' : '…'} /></section>`;
}

// ---- the view --------------------------------------------------------------------------------------------

/** Shows the message before or behind this one in its stream. */
async function goBeside({stream, position}, direction) {
  const forward = direction === 'forward';
  const [beside] = messages(await text('stream.get', stream, {
    position: position + (forward ? 1 : -1), direction, batchSize: 1}), stream);
  if (beside)
    goTo(messageAddress(beside.id));
  return beside !== undefined;
}

function Beside({of, direction, label}) {
  const [ended, setEnded] = useState(direction === 'backward' && of.position === 0);
  return html`<button disabled=${ended} onClick=${async () => setEnded(!await goBeside(of, direction))}>${label}</button>`;
}

function Facts({message: {id, stream, position, globalPosition, time, metadata}}) {
  const tags = tagsOf({metadata});
  const facts = [
    ['Stream', html`<${StreamLink} name=${stream} />`],
    ['Position', html`<a href=${streamAddress(stream, position)}>${count(position)}</a>`],
    ['Global position', html`<a href=${categoryAddress('', globalPosition)}>${count(globalPosition)}</a>`],
    ['Local time', html`<time datetime=${time}>${localTime(time)}</time>`],
    ['UTC', time],
    ['Id', html`<span class="mono">${id}</span> <${Copy} text=${id} />`],
    ...originsOf({metadata}).map(({what, text, address}) => [what, html`<a class="mono" href=${address}>${text}</a>`]),
    ...(tags.length ? [['Tags', tags.map(tag => html`<a class="tag" href=${
      addressOf('search', {tags: writeList(tag)})}>${tag}</a> `)]] : []),
  ];
  return html`<dl class="facts long panel">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

const REDACT = {redact: {
  label: 'Take its content away', word: ({stream}) => stream, named: 'name of its stream',
  note: `Data and metadata go for good. Id, stream, type, positions and time stay, and a retry of its append is still
    known. The database’s files have them until they are vacuumed; its log, backups and exports may have them for longer.`,
  fields: ({given, give}) => html`<${Tick} name="keepTags" checked=${given.keepTags} give=${give}>keep its tags<//>`,
  run: async ({id, keepTags}) => 'Taken away: ' + (await rpc('message.redact', {ids: [id]}, {keepTags})).redacted,
}};

function Whole({text: source, reload}) {
  const [shown] = useState(() => message(source));
  const [changing, setChanging] = useState(false);
  const {id, stream} = shown;
  return html`
    <${Title} title="Message" of=${shown.type}>
      <div class="tools">
        <${Beside} of=${shown} direction="backward" label="← Previous" />
        <${Beside} of=${shown} direction="forward" label="Next →" />
        <${Copy} label="Copy JSON" text=${() => asJson(source)} />
        <${Copy} label="curl" text=${() => asCurl(id)} />
        <${Copy} label="SQL" text=${() => asSql(id)} />
        <${Switch} on=${changing} set=${setChanging} />
      </div>
    <//>
    ${isRedacted(shown) && html`<div class="banner"><b>The content was taken away.</b> Its place stays: id, stream, type,
      positions and time.</div>`}
    ${changing && html`<${Changes} label="Change this message" changes=${REDACT} initial=${{keepTags: true}}
      context=${{id, stream}} onDone=${reload} />`}
    <${Facts} message=${shown} />
    <${Json} label="Data" text=${shown.data} />
    ${shown.metadata !== 'null' && html`<${Json} label="Metadata" text=${shown.metadata} />`}
    <${Caused} of=${shown} />`;
}

export function MessageView({parameters: {id = ''}}) {
  const {value, error, loading, reload} = useAnswer(() => text('message.get', id), [id]);
  if (error)
    return html`<${Title} title="Message" of=${id} /><${Trouble} error=${error} retry=${reload} />`;
  if (value === undefined || loading && !value.startsWith(`["${id}"`))
    return html`<${Waiting} />`;
  if (value === 'null')
    return html`<${Title} title="Message" of=${id} /><p>There is no message with this id in this namespace.</p>`;
  return html`<${Whole} key=${id + value.length} text=${value} reload=${reload} />`;
}
