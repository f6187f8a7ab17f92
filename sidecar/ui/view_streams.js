// Streams by prefix, a list of any length that is read as it is scrolled; categories when they are asked for.

import {html, useEffect, useReducer, useRef, useState} from './vendor/preact.js';
import {rpc, useAnswer} from './api.js';
import {categoryAddress, change, streamAddress} from './route.js';
import {Table} from './table.js';
import {Ago, count, Title, Trouble, Waiting} from './ui.js';

const PAGE = 500;

const STREAM_COLUMNS = [
  {name: 'Stream', width: 'minmax(140px, 1fr)', small: '1fr'},
  {name: 'Last position', width: '130px', small: '90px', className: 'number'},
  {name: 'Last message', width: '140px', small: '100px', className: 'time'},
];

function Streams({prefix}) {
  const [, redraw] = useReducer(n => n + 1, 0);
  const list = useRef({rows: [], ended: false, busy: false});
  const [error, setError] = useState();
  const more = async () => {
    const {current} = list;
    if (current.busy || current.ended)
      return;
    current.busy = true;
    try {
      const {rows} = current;
      const page = await rpc('ns.streams', {
        prefix, limit: PAGE, ...(rows.length && {cursor: rows[rows.length - 1].stream})});
      rows.push(...page);
      current.ended = page.length < PAGE;
      setError();
    } catch (failed) {
      setError(failed);
    }
    current.busy = false;
    redraw();
  };
  useEffect(() => { more(); }, []);
  const {rows, ended} = list.current;
  return html`
    ${error && html`<${Trouble} error=${error} retry=${more} />`}
    <${Table} label="Streams" columns=${STREAM_COLUMNS} count=${rows.length}
      need=${(from, to) => to > rows.length - PAGE / 2 && more()} keyOf=${index => rows[index].stream}
      href=${index => streamAddress(rows[index].stream)}
      row=${index => [rows[index].stream, count(rows[index].version), html`<${Ago} time=${rows[index].lastActivity} />`]}
      empty=${ended ? 'No streams.' : '…'} />
    <p class="quiet" role="status">${count(rows.length)} streams${ended ? '' : ' so far'}</p>`;
}

function Categories() {
  const {value, error, reload} = useAnswer(() => rpc('ns.categories'), []);
  if (error)
    return html`<${Trouble} error=${error} retry=${reload} />`;
  if (!value)
    return html`<${Waiting} />`;
  const columns = [
    {name: 'Category', width: 'minmax(140px, 1fr)', small: '1fr'},
    {name: 'Streams', width: '130px', small: '80px', className: 'number'},
    {name: 'Messages', width: '140px', small: '90px', className: 'number'},
  ];
  return html`<${Table} label="Categories" columns=${columns} count=${value.length}
    row=${index => [value[index].category, count(value[index].streamCount), count(value[index].messageCount)]}
    href=${index => categoryAddress(value[index].category)} empty="No categories." />`;
}

export function StreamsView({parameters: {prefix = '', categories}}) {
  const [typed, setTyped] = useState(prefix);
  useEffect(() => setTyped(prefix), [prefix]);
  useEffect(() => {
    const timer = setTimeout(() => typed !== prefix && change({prefix: typed, categories: ''}), 250);
    return () => clearTimeout(timer);
  }, [typed]);
  return html`
    <${Title} title=${categories ? 'Categories' : 'Streams'}>
      <div class="tools">
        <input aria-label="Streams that begin with" placeholder="Begins with…" value=${typed} spellcheck="false"
          autocomplete="off" onInput=${event => setTyped(event.target.value)} />
        <button aria-pressed=${!!categories} title="Reads the whole namespace"
          onClick=${() => change({categories: categories ? '' : 'true', prefix: ''})}>Count categories</button>
      </div>
    <//>
    ${categories ? html`<${Categories} />` : html`<${Streams} key=${prefix} prefix=${prefix} />`}`;
}
