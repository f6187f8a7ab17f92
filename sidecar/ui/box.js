// The one box of the page: takes a stream, a message id, a global position or a time, and offers what it may be.

import {html, useEffect, useRef, useState} from './vendor/preact.js';
import {rpc} from './api.js';
import {addressOf, categoryAddress, goTo, messageAddress, streamAddress} from './route.js';
import {localTime} from './ui.js';

const UUID = /^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/i;
const TIME = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?$/;

/** A time as it may be typed, in this browser's zone unless it names one; undefined: it is none. */
export function readTime(text) {
  text = text.trim();
  if (!TIME.test(text))
    return undefined;
  const date = new Date(text.length === 10 ? text + 'T00:00' : text.replace(' ', 'T'));
  return isNaN(date) ? undefined : date;
}

/** What a text may be, the likeliest first: [{what, text, open}]. */
function meanings(typed) {
  const found = [];
  const time = readTime(typed);
  if (UUID.test(typed))
    found.push({what: 'Message', text: typed, open: () => goTo(messageAddress(typed.toLowerCase()))});
  if (/^\d+$|^\d{1,3}(,\d{3})+$/.test(typed))  // as it is, or as the page writes it
    found.push({what: 'Position', text: typed, open: () => goTo(categoryAddress('', typed.replace(/,/g, '')))});
  if (time)
    found.push({what: 'Time', text: localTime(time), open: async () => {
      const {position} = await rpc('position.at', time.toISOString());
      goTo(categoryAddress('', position));
    }});
  if (typed)
    found.push({what: 'Stream', text: typed, open: () => goTo(streamAddress(typed))});
  return found;
}

/** Streams that begin with what is typed, a moment after the last key. */
function useStreams(typed) {
  const [streams, setStreams] = useState([]);
  useEffect(() => {
    if (!typed)
      return setStreams([]);
    let current = true;
    const timer = setTimeout(() => rpc('ns.streams', {prefix: typed, limit: 8}).then(
      answer => current && setStreams(answer.map(one => one.stream).filter(name => name !== typed)),
      () => current && setStreams([])), 120);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [typed]);
  return streams;
}

export function Box() {
  const [text, setText] = useState('');
  const [open, setOpen] = useState(false);
  const [chosen, setChosen] = useState(0);
  const [failed, setFailed] = useState();
  const input = useRef();
  const typed = text.trim();
  const offers = [
    ...meanings(typed),
    ...useStreams(typed).map(name => ({what: 'Stream', text: name, open: () => goTo(streamAddress(name))})),
    ...(typed ? [{what: 'Streams from', text: typed, open: () => goTo(addressOf('streams', {prefix: typed}))}] : []),
  ];
  const take = async offer => {
    try {
      await offer.open();
      setText('');
      setOpen(false);
      input.current.blur();
    } catch (error) {
      setFailed(error.message);
    }
  };
  const onKeyDown = event => {
    const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (step && offers.length) {
      setChosen((chosen + step + offers.length) % offers.length);
      event.preventDefault();
    } else if (event.key === 'Escape') {
      setOpen(false);
      input.current.blur();
    } else if (event.key === 'Enter' && offers.length) {
      event.preventDefault();
      take(offers[Math.min(chosen, offers.length - 1)]);
    }
  };
  const shown = open && offers.length > 0;
  return html`<div class="box" role="search">
    <input id="box" ref=${input} type="text" role="combobox" aria-label="Stream, message id, position or time"
      aria-expanded=${shown} aria-controls="offers" aria-autocomplete="list" autocomplete="off" spellcheck="false"
      aria-activedescendant=${shown ? 'offer-' + chosen : undefined} placeholder="Stream, message id, position or time"
      value=${text} onKeyDown=${onKeyDown} onFocus=${() => setOpen(true)} onBlur=${() => setOpen(false)}
      onInput=${event => { setText(event.target.value); setChosen(0); setFailed(); setOpen(true); }} />
    <kbd aria-hidden="true">/</kbd>
    <div id="offers" role="listbox" aria-label="What it may be" hidden=${!shown}>
      ${offers.map((offer, n) => html`<div role="option" id=${'offer-' + n} aria-selected=${n === chosen}
          onMouseDown=${event => event.preventDefault()} onClick=${() => take(offer)}>
        <small>${offer.what}</small> ${offer.text}</div>`)}
    </div>
    ${failed && html`<p class="failed" role="alert">${failed}</p>`}
  </div>`;
}
