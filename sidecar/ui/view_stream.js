// A stream, a category, or all messages (the category without a name); the newest is the first row.
//
// A whole stream is one long table: its rows are its positions, read where they are looked at.  A category, and
// whatever is filtered by type, has no such numbers, so it comes in pages.  In the address, `at` is the position of
// the first row; without it that is the newest message, and new ones are added live.

import {html, useEffect, useReducer, useRef, useState} from './vendor/preact.js';
import {live, rest, rpc, text} from './api.js';
import {member, messages} from './json.js';
import {addressOf, change, messageAddress, streamAddress} from './route.js';
import {Table} from './table.js';
import {Changes, Field, repeat, Switch, Tick} from './change.js';
import {count, localTime, plural, start, Title, Trouble, typeOf} from './ui.js';

const PAGE = 100;
const MAX_ROWS = 1000;  // that a page grows to by live messages
const MAX_CACHED = 4000;
const LIVE_REST = 5;  // times as long as drawing took, until live messages are drawn again
const MAX_LIVE = 1000;  // ms
const WINDOW_BYTES = 1 << 20;  // how much to ask for at once, about
const PAGE_BYTES = 4 << 20;  // of a page, about
const SCAN = 20000;  // messages that one question looks at
const MAX_SCAN = 200000;  // all questions for a page

// ---- rows --------------------------------------------------------------------------------------------------

const positionColumn = {name: 'Position', width: '110px', small: '72px', className: 'number'};
const typeColumn = {name: 'Type', width: 'minmax(110px, 1fr)', small: '1fr'};
const dataColumn = {name: 'Data', width: 'minmax(120px, 3fr)', className: 'data'};
const timeColumn = {name: 'Time', width: '204px', small: '82px', className: 'time'};
const streamColumn = {name: 'Stream', width: 'minmax(110px, 1.2fr)', small: '1fr'};

const OF_STREAM = [positionColumn, typeColumn, dataColumn, {...positionColumn, name: 'Global', small: undefined}, timeColumn];
const OF_CATEGORY = [positionColumn, streamColumn, typeColumn, dataColumn, timeColumn];

function Time({time}) {
  const local = localTime(time);
  return html`<span class="wide">${local.slice(0, 11)}</span>${local.slice(11, 19)}<span class="wide">${local.slice(19)}</span>`;
}

const rowOfStream = message => [count(message.position), typeOf(message), start(message), count(message.globalPosition),
                                html`<${Time} time=${message.time} />`];
const rowOfCategory = message => [count(message.globalPosition), html`<a href=${streamAddress(message.stream)} tabindex="-1">${
  message.stream}</a>`, typeOf(message), start(message), html`<${Time} time=${message.time} />`];

/** Columns and cells of tables of messages. */
export const MESSAGE_TABLE = {columns: OF_CATEGORY, cells: rowOfCategory};

// ---- live --------------------------------------------------------------------------------------------------

/**
 * Follows from `position` on while `on`; take(messages) is called a few times a second.  Returns what to show of the
 * connection.
 */
function useLive(query, position, on, take) {
  const [state, setState] = useState();
  const latest = useRef();
  latest.current = take;
  useEffect(() => {
    if (!on)
      return;
    const end = new AbortController();
    let arrived = [], showing = false;
    const show = async () => {
      showing = true;
      while (arrived.length && !end.signal.aborted) {
        latest.current(arrived.splice(0));
        await rest(LIVE_REST, 0, MAX_LIVE);
      }
      showing = false;
    };
    live({...query, position}, {signal: end.signal, onState: setState, onMessages: some => {
      arrived = arrived.concat(some);
      showing || show();
    }});
    return () => end.abort();
  }, [on, JSON.stringify(query)]);
  return state;
}

// ---- the head ------------------------------------------------------------------------------------------------

function Types({value, category}) {
  const [text, setText] = useState(value);
  const [known, setKnown] = useState([]);
  const ask = () => known.length || rpc('ns.types', category ? {category} : {}).then(
    answer => setKnown(answer.types.map(one => one.type)), () => {});
  useEffect(() => setText(value), [value]);
  return html`<form onSubmit=${event => { event.preventDefault(); change({types: text.trim(), at: ''}); }}>
    <input class="types" aria-label="Only these types, with commas between" placeholder="All types" list="types"
      value=${text} onFocus=${ask} onInput=${event => setText(event.target.value)} spellcheck="false"
      onChange=${event => change({types: event.target.value.trim(), at: ''})} />
    <datalist id="types">${known.map(type => html`<option value=${type} />`)}</datalist>
  </form>`;
}

function Tools({isStream, types, name, moves, following, onFollow, held, state}) {
  const button = (what, label, sign) => html`<button onClick=${() => moves[what]()} disabled=${!moves[what]}
    aria-label=${label}><span aria-hidden="true">${sign}</span> <span class="label">${label}</span></button>`;
  const category = isStream ? name.split('-')[0] : name;
  return html`<div class="tools">
    <${Types} value=${types} category=${category} />
    <span class="moves">
      ${button('oldest', 'Oldest', '⇤')}${button('older', 'Older', '←')}
      ${button('newer', 'Newer', '→')}${button('newest', 'Newest', '⇥')}
    </span>
    <button class="live" aria-pressed=${following} onClick=${onFollow}
      title=${state && state !== 'live' ? state.message : ''}>${
      following ? state && state !== 'live' ? 'Reconnecting' : 'Live' : held ? count(held) + ' new' : 'Paused'}</button>
  </div>`;
}

// ---- a whole stream ----------------------------------------------------------------------------------------

/** The messages of a stream by position, read when they are looked at.  `redraw` is called when there are more. */
class Window {
  constructor(name, redraw) {
    Object.assign(this, {name, redraw, rows: new Map(), bytes: WINDOW_BYTES / 10, busy: false, wish: {low: 0, high: 0}});
  }

  /** Keeps messages; where there are many, those that are far from what is looked at go. */
  add(messages) {
    messages.forEach(message => this.rows.set(message.position, message));
    for (const position of this.rows.size > MAX_CACHED ? this.rows.keys() : [])
      if (position < this.wish.low - 500 || position > this.wish.high + 500)
        this.rows.delete(position);
  }

  /** Sees to it that the positions are here, or nearly: the last wish counts. */
  async want(low, high) {
    this.wish = {low, high};
    if (this.busy)
      return;
    this.busy = true;
    try {
      while (await this.read(this.wish))
        this.redraw();
    } catch (error) {
      this.error = error;
      this.redraw();
    }
    this.busy = false;
  }

  /** Reads some of what is wished for, the newest first; false: it is all here. */
  async read({low, high}) {
    while (low <= high && this.rows.has(low))
      low++;
    while (high >= low && this.rows.has(high))
      high--;
    if (low > high)
      return false;
    const size = Math.max(1, Math.min(high - low + 1, Math.floor(WINDOW_BYTES / this.bytes)));
    low = Math.max(low, high - size + 1);
    const answer = await text('stream.get', this.name, {position: low, batchSize: size});
    const found = messages(answer, this.name);
    if (found.length)
      this.bytes = Math.max(200, answer.length / found.length);
    this.error = undefined;
    for (let position = low; position <= high; position++)
      this.rows.set(position, null);  // none, unless it is among these
    this.add(found.filter(message => message.position <= high));
    return true;
  }
}

// ---- what changes one --------------------------------------------------------------------------------------

const CLOSED = 'millrace.closed';  // a type
const word = ({name}) => name;
const removed = answers => 'Removed: ' + count(answers.reduce((sum, one) => sum + one.removed, 0));

// given: {name, ends, before, forget}.
const CLOSE = {
  label: 'Close it: no more appends', word,
  note: 'Its messages stay. The last one will be of type millrace.closed.',
  run: async ({name, ends}) =>
    'Closed at ' + count((await rpc('stream.close', name, {expectedVersion: ends.head})).position),
};
const REOPEN = {
  label: 'Reopen it', word, run: async ({name}) => 'Reopened at ' + count((await rpc('stream.reopen', name)).position),
};
const CHANGES = {
  truncate: {
    label: 'Remove its oldest messages', word, ready: ({before}) => /^\s*\d{1,16}\s*$/.test(before),
    note: 'What is below the position goes for good. All positions stay what they are.',
    fields: ({given, give}) => html`<${Field} name="before" value=${given.before} give=${give}>before position<//>`,
    run: async ({name, before}, tell) => removed(await repeat(
      () => rpc('stream.truncate', name, {before: Number(before)}), answers => tell(removed(answers)))),
  },
  remove: {
    label: 'Remove the stream', word,
    note: 'All its messages go for good. The next one gets the next position, unless that is forgotten, too.',
    fields: ({given, give}) => html`<${Tick} name="forget" checked=${given.forget} give=${give}>forget its version:
      it begins anew at 0<//>`,
    run: async ({name, ends, forget}, tell) => removed(await repeat(
      () => rpc('stream.remove', name, {expectedVersion: ends.head, forget}), answers => tell(removed(answers)))),
  },
};

function WholeStream({name, at}) {
  const [, redraw] = useReducer(n => n + 1, 0);
  const [ends, setEnds] = useState();  // first, last: of what is shown; head, closed: of the stream
  const [error, setError] = useState();
  const [following, setFollowing] = useState(true);
  const [changing, setChanging] = useState(false);
  const table = useRef(), rows = useRef(), placed = useRef(), turn = useRef(0);

  const load = async () => {
    try {
      const [version, ...both] = await Promise.all([rpc('stream.version', name), ...['forward', 'backward'].map(
        direction => text('stream.get', name, {direction, batchSize: 1}))]);
      const head = version ?? -1;
      const [first, last] = both.map(answer => messages(answer, name)[0]);
      rows.current = new Window(name, redraw);
      setEnds({first: first ? first.position : head + 1, last: head, head, closed: last?.type === CLOSED, turn: ++turn.current});
      setError();
    } catch (failed) {
      setError(failed);
    }
  };
  useEffect(() => { load(); }, []);
  useEffect(() => {
    if (ends && at !== undefined && at !== placed.current) {
      placed.current = at;
      table.current.toRow(ends.last - at);
      table.current.select(ends.last - at);
    }
  }, [ends, at]);

  const show = next => {
    table.current.shift(next.head - ends.last);
    setEnds({...next, last: next.head});
  };
  const take = arrived => {
    const head = arrived[arrived.length - 1].position;
    if (head <= ends.head)
      return;
    rows.current.add(arrived.slice(-MAX_ROWS));
    const next = {...ends, head, closed: arrived[arrived.length - 1].type === CLOSED};
    if (following)
      show(next);
    else
      setEnds(next);
  };
  const state = useLive({stream: name}, ends && ends.head + 1, ends?.turn, take);

  const need = (from, to) => {
    const margin = to - from;
    rows.current.want(Math.max(ends.first, ends.last - to + 1 - margin), Math.min(ends.last, ends.last - from + margin));
    const top = from > 0 ? ends.last - from : undefined;
    clearTimeout(placed.timer);
    placed.timer = setTimeout(() => {
      placed.current = top;
      history.replaceState(null, '', addressOf('stream', {name, at: top}));
    }, 300);
  };
  useEffect(() => () => clearTimeout(placed.timer), []);

  const follow = () => {
    if (!following)
      show(ends);
    setFollowing(!following);
  };
  const total = ends ? ends.last - ends.first + 1 : 0;
  const at_ = index => rows.current.rows.get(ends.last - index);
  const moves = ends && {
    oldest: () => table.current.toRow(total), older: () => table.current.page(1),
    newer: () => table.current.page(-1), newest: () => table.current.toRow(0),
  };
  return html`
    <${Title} title="Stream" of=${name}>
      ${ends && html`<span class="quiet">${plural(total, 'message')}${ends.first > 0 && `, begins at ${count(ends.first)}`}</span>`}
      ${ends?.closed && html`<span class="state stopped">closed</span>`}
      <${Switch} on=${changing} set=${setChanging} />
      <${Tools} isStream name=${name} types="" moves=${moves || {}} following=${following} onFollow=${follow}
        held=${ends && ends.head - ends.last} state=${state} />
    <//>
    ${(error || rows.current?.error) && html`<${Trouble} error=${error || rows.current.error} retry=${load} />`}
    ${changing && ends && html`<${Changes} label="Change this stream" named="stream’s name"
      changes=${ends.closed ? {reopen: REOPEN, ...CHANGES} : {close: CLOSE, ...CHANGES}}
      initial=${{before: '', forget: false}} context=${{name, ends}} onDone=${load} />`}
    ${ends && html`<${Table} key=${ends.turn} ref=${table} label=${'Messages of ' + name} columns=${OF_STREAM} count=${total}
      need=${need} keyOf=${index => ends.last - index} href=${index => at_(index) && messageAddress(at_(index).id)}
      row=${index => {
        const message = at_(index);
        return message ? rowOfStream(message) : message === null ? [count(ends.last - index), 'none at this position'] : undefined;
      }} empty=${
        ends.head < 0 ? 'There is no such stream, yet.' : 'All its messages were removed.'} />`}`;
}

// ---- pages -------------------------------------------------------------------------------------------------

const listOf = types => types.split(',').map(type => type.trim()).filter(type => type);

/**
 * Reads a page, in the order of the direction: {rows, next, scanned}.  `next` is the global position where the next
 * one begins; null: that was all there is.  Ends early when progress(page) is false.
 */
async function readPage({isStream, name, types}, position, direction, progress) {
  const of = {...(isStream ? {stream: name} : name ? {category: name} : {}), ...(types && {types: listOf(types)})};
  const page = {rows: [], next: position, scanned: 0};
  let size = 0;
  do {
    const answer = await text('messages.search', {
      ...of, position: page.next, direction, limit: PAGE - page.rows.length, scanLimit: SCAN});
    const next = member(answer, 'next');
    page.rows.push(...messages(member(answer, 'messages')));
    page.next = next === 'null' ? null : Number(next);
    page.scanned += Number(member(answer, 'scanned'));
    size += answer.length;
  } while (progress(page) && page.next !== null && page.rows.length < PAGE && size < PAGE_BYTES &&
           page.scanned < MAX_SCAN);
  return page;
}

/** How far a stream or the namespace is: what comes live is above. */
const headOf = async ({isStream, name}) =>
  isStream ? await rpc('stream.version', name) ?? -1 : (await rpc('stream.head')).head;

function Pages({isStream, name, types, at}) {
  const [page, setPage] = useState();  // rows: the newest first; next: where older ones are
  const [looking, setLooking] = useState();
  const [error, setError] = useState();
  const [following, setFollowing] = useState(true);
  const [held, setHeld] = useState([]);
  const table = useRef(), turn = useRef(0);
  const what = {isStream, name, types};

  const load = async (position, direction) => {
    const mine = ++turn.current;
    const progress = found => turn.current === mine && (setLooking(found.scanned), true);
    try {
      const head = await headOf(what);
      const found = await readPage(what, position, direction, progress);
      if (turn.current !== mine)
        return undefined;
      setError();
      setLooking();
      return {...found, head};
    } catch (failed) {
      if (turn.current === mine)
        setError(failed);
      return undefined;
    }
  };
  const loadBackward = async () => {
    const found = await load(at, 'backward');
    if (found) {
      setPage({...found, key: types + at});
      setHeld([]);
    }
  };
  useEffect(() => {
    loadBackward();
    table.current?.toRow(0);
    return () => turn.current++;
  }, [types, at]);

  /** Shows the page that ends with these rows, which came forward. */
  const showForward = async from => {
    const found = await load(from, 'forward');
    if (found)
      change({at: found.next === null ? '' : found.rows[found.rows.length - 1]?.globalPosition ?? found.next});
  };
  const take = arrived => {
    const before = following ? page.rows : held;
    const all = arrived.reverse().concat(before).slice(0, MAX_ROWS);
    if (!following)
      return setHeld(all);
    table.current.shift(arrived.length);
    setPage({...page, rows: all, next: all.length < page.rows.length + arrived.length ?
      all[all.length - 1].globalPosition - 1 : page.next});
  };
  const isNewest = at === undefined;
  const rows = page ? page.rows : [];
  const state = useLive({...(isStream ? {stream: name} : name ? {category: name} : {all: true}), ...(types && {types})},
    page && Math.max(page.head, rows[0]?.[isStream ? 'position' : 'globalPosition'] ?? 0) + 1,
    isNewest && page !== undefined && page.key === types + at, take);

  const follow = () => {
    if (!isNewest)
      return change({at: ''});
    if (!following && held.length) {
      table.current.shift(held.length);
      setPage({...page, rows: held.concat(page.rows).slice(0, MAX_ROWS)});
      setHeld([]);
    }
    setFollowing(!following);
  };
  const last = rows[rows.length - 1];
  const moves = {
    oldest: () => showForward(0),
    older: page && page.next !== null ? () => change({at: page.next}) : undefined,
    newer: isNewest ? undefined : () => showForward((rows[0] ? rows[0].globalPosition : at) + 1),
    newest: () => isNewest ? table.current.toRow(0) : change({at: ''}),
  };
  return html`
    <${Title} title=${isStream ? 'Stream' : name ? 'Category' : 'Messages'} of=${name || undefined}>
      <${Tools} ...${what} moves=${moves} following=${isNewest && following} onFollow=${follow} held=${held.length}
        state=${state} />
    <//>
    ${error && html`<${Trouble} error=${error} retry=${loadBackward} />`}
    <${Table} ref=${table} label=${'Messages of ' + (name || 'the namespace')} count=${rows.length}
      columns=${isStream ? OF_STREAM : OF_CATEGORY} keyOf=${index => rows[index].globalPosition}
      href=${index => messageAddress(rows[index].id)}
      row=${index => (isStream ? rowOfStream : rowOfCategory)(rows[index])}
      empty=${page && page.next !== null ? `None among ${count(page.scanned)} messages.` : page || error ? 'No messages.' :
        looking ? `Looked at ${count(looking)} messages…` : '…'} />`;
}

export function StreamView({place, parameters: {name = '', types = '', at}}) {
  const isStream = place === 'stream';
  const position = /^\d+$/.test(at || '') ? Number(at) : undefined;
  return isStream && !types ? html`<${WholeStream} key=${name} name=${name} at=${position} />` :
    html`<${Pages} key=${name} isStream=${isStream} name=${name} types=${types} at=${position} />`;
}
