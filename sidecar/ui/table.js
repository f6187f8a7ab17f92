// A table of any length, of which only the rows that are seen exist.
//
// A browser's elements end at some 10 million pixels, so a long table's canvas is shorter than its rows.  `offset` is
// what lies between: row i is at i * ROW - offset.  A small step of the scrollbar moves the rows by as much and leaves
// it; a jump, and the ends of the canvas, set it anew so that the scrollbar's place is the place among all rows.

import {Component, html} from './vendor/preact.js';

const MAX_CANVAS = 4000000;  // pixels
const MARGIN = 8;  // rows beyond what is seen, on both sides

let tables = 0;

/**
 * columns: [{name, width, small, className}], width a track of CSS grid; small the same for narrow screens, and without
 * it a column is not shown there.
 * count: how many rows there are.  row(i): the cells of a row; undefined: they are not here yet.
 * href(i): where a row leads; keyOf(i): what tells a row from others (i).
 * need(from, to): these rows are seen now, `to` exclusive.
 * fit: as high as its rows, for short ones; else it fills what room there is.
 */
export class Table extends Component {
  constructor(props) {
    super(props);
    this.name = 'table' + ++tables;
    this.state = {selected: -1, height: 600, row: 30, bar: 0};
    this.top = this.offset = this.y = 0;
    this.onScroll = this.onScroll.bind(this);
    this.onKeys = this.onKeys.bind(this);
    this.take = element => this.scroller = element;
  }

  // ---- where it is scrolled to ----

  sizes() {
    const {height, row} = this.state;
    const full = this.props.count * row, canvas = Math.min(full, MAX_CANVAS);
    return {height, row, full, canvas, range: Math.max(canvas - height, 0), reach: Math.max(full - height, 0)};
  }

  /** Puts the scrollbar where it belongs when the pixel `top` of all rows is the first that is seen. */
  place(top) {
    const {height, range, reach} = this.sizes();
    top = Math.max(0, Math.min(top, reach));
    const y = top <= height || reach === range ? top : reach - top <= height ? range - (reach - top) :
      Math.round(top / reach * range);
    this.offset = top - y;
    this.y = y;
    if (this.scroller && Math.abs(this.scroller.scrollTop - y) >= 1)
      this.scroller.scrollTop = y;
    this.show(top);
  }

  show(top) {
    this.top = top;
    this.setState({});
  }

  onScroll() {
    const {height, range, reach} = this.sizes();
    const y = this.scroller.scrollTop;
    if (reach === range)
      this.offset = 0;
    else if (Math.abs(y - this.y) > 1.5 * height)
      return this.place(y / range * reach);
    const top = y + this.offset;
    this.y = y;
    if (reach !== range && (top < 0 || top > reach || (y < height) !== (top < height) ||
                            (range - y < height) !== (reach - top < height)))
      this.place(top);
    else
      this.show(top);
  }

  /** Makes a row the first that is seen. */
  toRow(index) {
    this.place(index * this.state.row);
  }

  /** Moves by so many screens. */
  page(screens) {
    this.place(this.top + screens * (this.state.height - this.state.row));
  }

  /** So many rows came above all others: what is seen stays, unless that is the first row. */
  shift(rows) {
    const {selected, row} = this.state;
    if (selected >= 0)
      this.setState({selected: selected + rows});
    if (this.top > 0)
      this.pending = this.top + rows * row;
  }

  // ---- the keyboard ----

  select(index) {
    const {height, row} = this.state, {top} = this;
    index = Math.max(0, Math.min(index, this.props.count - 1));
    this.setState({selected: index});
    if (index * row < top)
      this.place(index * row);
    else if ((index + 1) * row > top + height)
      this.place((index + 1) * row - height);
  }

  open() {
    const link = this.scroller.querySelector('[aria-selected=true] a');
    if (link)
      link.click();
  }

  /** A key that the shell heard, and the same keys on the table itself.  True: it was for the table. */
  key(key) {
    const {selected, height, row} = this.state;
    const screen = Math.floor(height / row) - 1;
    const steps = {j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: screen, PageUp: -screen};
    if (key in steps)
      this.select(selected < 0 ? Math.ceil(this.top / row) : selected + steps[key]);
    else if (key === 'Home')
      this.select(0);
    else if (key === 'End')
      this.select(this.props.count - 1);
    else if (key === 'o' || key === 'Enter')
      this.open();
    else
      return false;
    return true;
  }

  /** A click anywhere in a row opens it, unless it was for something else. */
  onClick(event) {
    if (!event.target.closest('a, button, input') && !String(getSelection()))
      event.currentTarget.querySelector('a')?.click();
  }

  onKeys(event) {
    if (event.target === this.scroller && !event.ctrlKey && !event.metaKey && !event.altKey && this.key(event.key)) {
      event.preventDefault();
      event.stopPropagation();
    }
  }

  // ---- life ----

  measure() {
    const row = parseFloat(getComputedStyle(this.scroller).getPropertyValue('--row')) || 30;
    const height = this.scroller.clientHeight, bar = this.scroller.offsetWidth - this.scroller.clientWidth;
    if (row !== this.state.row || height !== this.state.height || bar !== this.state.bar)
      this.setState({row, height, bar});
  }

  componentDidMount() {
    this.measure();
    this.observer = new ResizeObserver(() => this.measure());
    this.observer.observe(this.scroller);
    Table.last = this;
    this.tell();
  }

  componentDidUpdate() {
    if (this.pending !== undefined) {
      const top = this.pending;
      this.pending = undefined;
      this.place(top);
    }
    const {reach} = this.sizes();
    if (this.top > reach)
      this.place(reach);
    this.tell();
  }

  componentWillUnmount() {
    this.observer.disconnect();
    if (Table.last === this)
      Table.last = undefined;
  }

  seen() {
    const {height, row} = this.state, {top} = this;
    const from = Math.max(0, Math.floor(top / row));
    return {from, to: Math.min(this.props.count, Math.ceil((top + height) / row))};
  }

  tell() {
    const {from, to} = this.seen();
    const told = [from, to, this.props.count].join();
    if (this.props.need && to > from && told !== this.told)
      this.props.need(from, to);
    this.told = told;
  }

  // ---- what is drawn ----

  line(index) {
    const {columns, row, href, keyOf} = this.props;
    const cells = row(index);
    const target = cells && href && href(index);
    return html`<div role="row" class="row ${target ? 'opens' : ''} ${cells ? '' : 'absent'}" key=${keyOf ? keyOf(index) : index}
        id=${this.name + '-' + index} aria-rowindex=${index + 2} aria-selected=${index === this.state.selected}
        style=${{top: index * this.state.row - this.offset}} onMouseDown=${() => this.setState({selected: index})}
        onClick=${target && this.onClick}>
      ${columns.map((column, n) => html`<div role="gridcell" class=${classOf(column)}>${
        cells ? n === 0 && target ? html`<a href=${target} tabindex="-1">${cells[n]}</a>` : cells[n] :
        n === 0 ? '…' : ''}</div>`)}
    </div>`;
  }

  render({label, columns, count, fit, empty}, {selected, bar}) {
    const {from, to} = this.seen();
    const {canvas, row} = this.sizes();
    const lines = [];
    for (let i = Math.max(0, from - MARGIN); i < Math.min(count, to + MARGIN); i++)
      lines.push(this.line(i));
    const tracks = {'--columns': columns.map(column => column.width || '1fr').join(' '),
                    '--small': columns.filter(column => column.small).map(column => column.small).join(' ')};
    return html`<div class="table ${fit ? 'fit' : ''}" role="grid" aria-label=${label} aria-rowcount=${count + 1}
        style=${tracks}>
      <div role="rowgroup" style=${{paddingRight: bar}}><div role="row" class="row head" aria-rowindex="1">
        ${columns.map(column => html`<div role="columnheader" class=${classOf(column)}>${column.name}</div>`)}
      </div></div>
      <div class="rows" role="rowgroup" tabindex="0" aria-label=${label} ref=${this.take} onScroll=${this.onScroll}
          onKeyDown=${this.onKeys} onFocus=${() => Table.last = this}
          aria-activedescendant=${selected >= 0 ? this.name + '-' + selected : undefined}
          style=${fit ? {height: Math.max(count, 1) * row} : undefined}>
        <div class="canvas" style=${{height: canvas}}>${lines}</div>
        ${count === 0 && html`<div role="row"><p class="empty" role="gridcell">${empty || 'Nothing here.'}</p></div>`}
      </div>
    </div>`;
  }
}

function classOf(column) {
  return (column.className || '') + (column.small ? '' : ' wide');
}
