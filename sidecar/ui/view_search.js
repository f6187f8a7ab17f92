// Search by types, time and path = value: one bounded scan after the other, which shows how far it is, can be stopped
// and goes on where it was.  Tags are found by their index, with types alone.

import {html, useEffect, useRef, useState} from './vendor/preact.js';
import {ask, useAnswer, rpc} from './api.js';
import {member, messages} from './json.js';
import {Table} from './table.js';
import {Changes, repeat, Switch, Tick} from './change.js';
import {go, messageAddress} from './route.js';
import {readTime} from './box.js';
import {count, localTime, start, StreamLink, Title, Trouble, typeOf} from './ui.js';

const SCAN = 20000;  // messages that one call looks at, at most
const ROWS = 200;  // found in one call, at most
const ENOUGH = 1000;  // found before it stops by itself

const FIELDS = ['tags', 'types', 'since', 'until', 'path', 'value', 'in', 'name', 'order'];

/** ["data","a.b"] as it is; data.a.0 by its dots. */
function readPath(text) {
  return text.trimStart().startsWith('[') ? JSON.parse(text) : text.trim().split('.');
}

/** The text of a JSON value; what is none is meant as a string. */
function readValue(text) {
  try {
    JSON.parse(text);
    return text;
  } catch {
    return JSON.stringify(text);
  }
}

/** ["a,b","c"] as it is; a, b by its commas. */
const readList = text => text.trimStart().startsWith('[') ? JSON.parse(text) :
  text.split(',').map(one => one.trim()).filter(Boolean);

/** What readList reads as this one text. */
export const writeList = text => /^\s*\[|,|^\s|\s$/.test(text) ? JSON.stringify([text]) : text;

function readTimeOf(form, name) {
  const time = readTime(form[name]);
  if (!time)
    throw new Error(`“${form[name]}” is no time; write one as 2026-11-29 or 2026-11-29 08:00.`);
  return time.toISOString();
}

/** What is asked for, as texts of JSON by option: a number among the values keeps its digits. */
function request(form) {
  const options = {direction: JSON.stringify(form.order === 'oldest' ? 'forward' : 'backward')};
  const types = readList(form.types), tags = readList(form.tags);
  if (tags.length && (form.path || form.name || form.since || form.until))
    throw new Error('Tags are found by their index, with types alone: leave the path, the name and the times empty.');
  if (tags.length)
    return {...options, items: JSON.stringify([{tags, ...(types.length && {types})}])};
  if (types.length)
    options.types = JSON.stringify(types);
  for (const name of ['since', 'until'])
    if (form[name])
      options[name] = JSON.stringify(readTimeOf(form, name));
  if (form.path)
    options.where = `{"path":${JSON.stringify(readPath(form.path))},"value":${readValue(form.value || '')}}`;
  if (form.name)
    options[form.in === 'stream' ? 'stream' : 'category'] = JSON.stringify(form.name);
  return options;
}

/** The same by the index of tags. */
async function byTags({items: asked, direction}, position, signal) {
  const answer = await ask(`["query.get",{"items":${asked}},{"direction":${direction},"batchSize":${ROWS}${
    position === null ? '' : `,"position":${position}`}}]`, signal);
  const found = messages(member(answer, 'messages'));
  const next = found.length && found[found.length - 1].globalPosition + (direction === '"forward"' ? 1 : -1);
  return {messages: found, scanned: 0, next: member(answer, 'more') === 'true' && next || null};
}

/** One call: the messages that it found, and where the next one begins. */
async function scan(options, position, signal) {
  if (options.items)
    return byTags(options, position, signal);
  const all = {...options, limit: ROWS, scanLimit: SCAN, ...(position === null ? {} : {position})};
  const body = Object.entries(all).map(([name, value]) => `${JSON.stringify(name)}:${value}`).join();
  const answer = await ask(`["messages.search",{${body}}]`, signal);
  const of = name => JSON.parse(member(answer, name) ?? 'null');
  return {messages: messages(member(answer, 'messages')), scanned: of('scanned'),
          next: of('next'), time: of('nextTime')};
}

/** The scan of a form: {found, scanned, next, time, running, error, begin, stop}. */
function useScan() {
  const [state, setState] = useState({found: [], scanned: 0, next: null});
  const control = useRef();
  const stop = () => control.current?.abort();
  useEffect(() => stop, []);
  const run = async (options, before) => {
    stop();
    const {signal} = control.current = new AbortController();
    let now = {...before, running: true, error: undefined};
    const wanted = now.found.length + ENOUGH;
    setState(now);
    try {
      do {
        const {messages, scanned, next, time} = await scan(options, now.next, signal);
        now = {...now, found: now.found.concat(messages), scanned: now.scanned + scanned, next, time: time ?? now.time};
        if (!signal.aborted)
          setState(now);
      } while (now.next !== null && now.found.length < wanted && !signal.aborted);
      now.running = false;
    } catch (error) {
      now = {...now, running: false, error: error.name === 'AbortError' ? undefined : error};
    }
    if (control.current.signal === signal)
      setState({...now});
  };
  return {
    ...state, stop,
    begin: form => {
      try {
        run(request(form), {found: [], scanned: 0, next: null, begun: true, options: request(form)});
      } catch (error) {
        setState({found: [], scanned: 0, next: null, error});
      }
    },
    again: () => run(state.options, {found: [], scanned: 0, next: null, begun: true, options: state.options}),
    goOn: () => run(state.options, state),
  };
}

const COLUMNS = [
  {name: 'Position', width: '110px', small: '92px', className: 'number'},
  {name: 'Time', width: '204px', className: 'time'}, {name: 'Stream', width: '1fr', small: '1fr'},
  {name: 'Type', width: '0.8fr', small: '0.8fr'}, {name: 'Data', width: '2fr', className: 'data'},
];

function Found({found, running, begun}) {
  const row = n => {
    const one = found[n];
    return [count(one.globalPosition), localTime(one.time), html`<${StreamLink} name=${one.stream} />`, typeOf(one),
            start(one)];
  };
  return html`<${Table} label="Messages found" columns=${COLUMNS} count=${found.length} row=${row}
    keyOf=${n => found[n].id} href=${n => messageAddress(found[n].id)}
    empty=${running ? 'Nothing yet.' : begun ? 'Nothing found.' : 'What is found comes here.'} />`;
}

function Progress({scan}) {
  return html`<div class="tools progress" role="status">
    <span><b>${count(scan.found.length)}</b> found${!scan.options?.items && html` in <b>${count(scan.scanned)}</b> messages`}</span>
    ${scan.next !== null && html`<span>now at ${count(scan.next)}${scan.time && ', ' + localTime(scan.time)}</span>`}
    ${!scan.running && scan.begun && scan.next === null && !scan.error && html`<span>${scan.options?.items ? 'these are all' : 'all of them seen'}</span>`}
    ${scan.running && html`<button type="button" onClick=${scan.stop}>Stop</button>`}
    ${!scan.running && scan.next !== null && html`<button type="button" onClick=${scan.goOn}>Go on</button>`}
  </div>`;
}

// given: {tag, keepTags}.
const REDACT = {redact: {
  label: 'Take the content of all with this tag away', word: ({tag}) => tag, named: 'tag',
  note: `Data and metadata go for good, of messages of any type. Ids, streams, types, positions and times stay. The
    database’s files have them until they are vacuumed; its log, backups and exports may have them for longer.`,
  fields: ({given, give}) => html`<${Tick} name="keepTags" checked=${given.keepTags} give=${give}>keep their tags<//>`,
  run: async ({tag, keepTags}, tell) => {
    const done = answers => 'Taken away: ' + count(answers.reduce((sum, one) => sum + one.redacted, 0));
    const answers = await repeat(last => rpc('message.redact', {tag, ...(last && {position: last.next})}, {keepTags}),
      answers => tell(`${done(answers)}, now at ${count(answers[answers.length - 1].next)}`));
    const {next, head} = answers[answers.length - 1];
    return done(answers) + (next === null ? `; none is left up to ${count(head)}` : '; there are more');
  },
}};

/** The one tag of a scan for all that has it. */
function tagOf({items}) {
  const [{tags, types}] = items ? JSON.parse(items) : [{}];
  return tags?.length === 1 && !types ? tags[0] : undefined;
}

const EMPTY = Object.fromEntries(FIELDS.map(name => [name, '']));

export function SearchView({parameters}) {
  const [form, setForm] = useState({...EMPTY, ...parameters});
  const {value: known} = useAnswer(() => rpc('ns.types', {}), []);
  const found = useScan();
  const [changing, setChanging] = useState(false);
  const tag = tagOf(found.options || {});
  useEffect(() => {
    if (FIELDS.some(name => parameters[name]))
      found.begin(form);
  }, []);
  const submit = event => {
    event.preventDefault();
    go('search', form, true);
    found.begin(form);
  };
  const field = (name, label, placeholder, more) => html`<label>${label}<input name=${name} value=${form[name]}
    placeholder=${placeholder} spellcheck="false" autocomplete="off" ...${more}
    onInput=${event => setForm({...form, [name]: event.target.value})} /></label>`;
  const choice = (name, label, options) => html`<label>${label}<select name=${name} value=${form[name]}
      onChange=${event => setForm({...form, [name]: event.target.value})}>
    ${options.map(([value, text]) => html`<option value=${value}>${text}</option>`)}</select></label>`;
  return html`<${Title} title="Search">${tag !== undefined && html`<${Switch} on=${changing} set=${setChanging} />`}<//>
    <form class="panel search" onSubmit=${submit}>
      ${field('path', 'Path', 'data.order.id')}
      ${field('value', 'is', '7, "a text", true')}
      ${field('tags', 'Tags', 'course:c1')}
      ${field('types', 'Types', 'Opened, Closed', {list: 'types'})}
      ${choice('in', 'In', [['', 'category'], ['stream', 'stream']])}
      ${field('name', 'named', 'everything')}
      ${field('since', 'Since', '2026-11-29 08:00')}
      ${field('until', 'until', '2026-11-30')}
      ${choice('order', 'First', [['', 'the newest'], ['oldest', 'the oldest']])}
      <datalist id="types">${known?.types.map(one => html`<option value=${one.type} />`)}</datalist>
      <button class="main">Search</button>
    </form>
    ${found.error && html`<${Trouble} error=${found.error} />`}
    ${changing && tag !== undefined && html`<${Changes} label="Change what was found" changes=${REDACT}
      initial=${{keepTags: true}} context=${{tag}} onDone=${found.again} />`}
    ${found.begun && html`<${Progress} scan=${found} />`}
    <${Found} ...${found} />`;
}
