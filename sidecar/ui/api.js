// What the page asks the server: calls of /rpc, and live messages.
//
// The token lives in sessionStorage and goes in a header.  One in the address's fragment is taken out of it at once.

import {useEffect, useRef, useState} from './vendor/preact.js';
import {message} from './json.js';
import {events} from './route.js';

const POLL_REST = 30;  // times as long as drawing took, between two looks
const MAX_POLL = 5000;  // ms

/** What the server says of a call that failed.  code: as in the reference; UNREACHABLE when it says nothing. */
export class Failure extends Error {
  constructor(status, code, text, details) {
    super(text);
    Object.assign(this, {status, code, details});
  }
  get needsToken() {
    return this.status === 401 || this.message.startsWith('the token does not open');
  }
}

// ---- the token ------------------------------------------------------------------------------------------

function takeToken() {
  const found = /^#token=(.+)$/.exec(location.hash);
  if (found) {
    sessionStorage.setItem('token', found[1]);
    history.replaceState(null, '', location.pathname + location.search);
  }
  return found;
}

takeToken();
addEventListener('hashchange', () => takeToken() && location.reload());

export const token = () => sessionStorage.getItem('token');

export function setToken(text) {
  if (text)
    sessionStorage.setItem('token', text.trim());
  else
    sessionStorage.removeItem('token');
}

/** The namespace that the token opens; without one it is test mode's default. */
export function namespace() {
  const name = /^ns_(.+)_[0-9a-f]{64}$/.exec(token() || '');
  if (!name)
    return 'default';
  try {
    const bytes = atob(name[1].replace(/-/g, '+').replace(/_/g, '/'));
    return new TextDecoder().decode(Uint8Array.from(bytes, c => c.charCodeAt(0)));
  } catch {
    return '';
  }
}

let administers;  // undefined: not known yet

/** Whether the token has the right to administer; of namespace default it may then call everything. */
export const mayAdminister = () => administers === true;
export const isAdministrator = () => namespace() === 'default' && administers !== false;

const headers = () => token() ? {Authorization: 'Bearer ' + token()} : {};

// ---- calls ------------------------------------------------------------------------------------------------

async function failure(response) {
  const text = await response.text();
  try {
    const {code, message, details} = JSON.parse(text).error;
    return new Failure(response.status, code, message, details);
  } catch {
    return new Failure(response.status, 'HTTP_' + response.status, text || 'HTTP status ' + response.status);
  }
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, {...options, cache: 'no-store', credentials: 'omit'});
  } catch (error) {
    if (error.name === 'AbortError')
      throw error;
    throw new Failure(0, 'UNREACHABLE', 'The server does not answer.');
  }
  if (response.ok)
    return response;
  const failed = await failure(response);
  if (failed.needsToken)
    events.dispatchEvent(new CustomEvent('refused', {detail: failed}));
  throw failed;
}

/** Makes a call, an array or its JSON, and returns the text of its result.  `signal` ends it. */
export async function ask(call, signal) {
  const response = await request('/rpc', {
    method: 'POST', signal, body: typeof call === 'string' ? call : JSON.stringify(call),
    headers: {...headers(), 'Content-Type': 'application/json'},
  });
  return response.text();
}

/** The text of a method's result: for everything with messages in it. */
export const text = (method, ...args) => ask([method, ...args]);

/** A method's result, for what has no messages in it. */
export const rpc = async (method, ...args) => JSON.parse(await text(method, ...args));

/** What several calls, made at once, are answered: a result, or the Failure, for each. */
export async function settled(calls) {
  const asked = calls.map(([method, ...params], id) => ({jsonrpc: '2.0', id, method, params}));
  return JSON.parse(await ask(JSON.stringify(asked))).sort((a, b) => a.id - b.id).map(({error, result}) =>
    error ? new Failure(200, error.data?.code, error.message) : result);
}

/** Asks whether the server takes the token, and what for. */
export async function checkAccess() {
  const [tokens] = await settled([['ns.tokens', namespace()]]);
  administers = tokens.code === 'AUTH_UNAUTHORIZED' ? false : tokens instanceof Failure ? undefined : true;
}

/** The results of several calls, made at once. */
export async function batch(calls) {
  const answers = await settled(calls);
  const failed = answers.find(answer => answer instanceof Failure);
  if (failed)
    throw failed;
  return answers;
}

// ---- live messages ----------------------------------------------------------------------------------------

/** Hands the data of each event of a body of server-sent events to `take`, all of a chunk at once. */
async function readEvents(body, take) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = '';;) {
    const {value, done} = await reader.read();
    if (done)
      return;
    const events = (rest + value).split('\n\n');
    rest = events.pop();
    take(events.map(event => {
      const field = name => event.split('\n').find(line => line.startsWith(name + ': '))?.slice(name.length + 2);
      return {event: field('event'), data: field('data')};
    }).filter(event => event.data !== undefined));
  }
}

const pause = (ms, signal) => new Promise(resolve => {
  setTimeout(resolve, ms);
  signal?.addEventListener('abort', resolve);
});

/**
 * Waits until what was set is painted, and then so many times as long, at most `most` ms: so drawing has its share of a
 * processor and no more, also of one that others need.
 */
export async function rest(times, least, most) {
  const began = performance.now();
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  await pause(Math.min(most, Math.max(least, times * (performance.now() - began))));
}

/**
 * Follows /subscribe until `signal` aborts: query is {stream} or {category} or {all: true}, with types and position.
 * onMessages gets arrays of messages, each message once; onState 'live', or the Failure after which it tries again.
 * A hidden tab has no connection; it goes on behind its last message when it is seen again.
 */
export async function live(query, {signal, onMessages, onState = () => {}}) {
  let position = query.position;
  while (!signal.aborted) {
    const connection = new AbortController();
    const end = () => (signal.aborted || document.hidden) && connection.abort();
    signal.addEventListener('abort', end);
    document.addEventListener('visibilitychange', end);
    try {
      const wanted = new URLSearchParams({...query, position, messages: true});
      const response = await request('/subscribe?' + wanted, {headers: headers(), signal: connection.signal});
      onState('live');
      await readEvents(response.body, events => {
        const arrived = events.filter(event => event.event === 'message').map(event => message(event.data));
        if (arrived.length === 0)
          return;
        const last = arrived[arrived.length - 1];
        position = (query.stream !== undefined ? last.position : last.globalPosition) + 1;
        onMessages(arrived);
      });
    } catch (error) {
      if (error instanceof Failure)
        onState(error);
    }
    document.removeEventListener('visibilitychange', end);
    signal.removeEventListener('abort', end);
    if (!document.hidden)
      await pause(1000, signal);
    else if (!signal.aborted)
      await new Promise(resolve => {
        document.addEventListener('visibilitychange', resolve, {once: true});
        signal.addEventListener('abort', resolve);
      });
  }
}

// ---- hooks --------------------------------------------------------------------------------------------------

/**
 * What `load` promises, asked for again when a member of `deps` changes: {value, error, loading, reload}.  The value
 * before stays until the next is here.
 */
export function useAnswer(load, deps) {
  const [answer, setAnswer] = useState({loading: true});
  const [count, setCount] = useState(0);
  useEffect(() => {
    let current = true;
    setAnswer(before => ({...before, loading: true}));
    load().then(
      value => current && setAnswer({value, loading: false}),
      error => current && setAnswer(before => ({value: before.value, error, loading: false})));
    return () => current = false;
  }, [...deps, count]);
  return {...answer, reload: () => setCount(n => n + 1)};
}

/** Calls `work` now and `ms` after it has ended, or later where drawing takes long, again and again, while the tab is seen. */
export function usePoll(work, ms, deps) {
  const latest = useRef();
  latest.current = work;
  useEffect(() => {
    let over = false, working = false;
    const seen = async () => {
      if (working)
        return;
      working = true;
      while (!over && !document.hidden) {
        await latest.current();
        await rest(POLL_REST, ms, MAX_POLL);
      }
      working = false;
    };
    document.addEventListener('visibilitychange', seen);
    seen();
    return () => {
      over = true;
      document.removeEventListener('visibilitychange', seen);
    };
  }, deps);
}

/** What `load` promises, asked for again and again as usePoll does: {value, error, reload}. */
export function usePolled(load, ms, deps) {
  const [answer, setAnswer] = useState({});
  const [count, setCount] = useState(0);
  const asked = useRef();
  asked.current = JSON.stringify(deps);
  usePoll(async () => {
    const before = asked.current;
    const next = await load().then(value => ({value}), error => ({value: answer.value, error}));
    if (asked.current === before)
      setAnswer(next);
  }, ms, [...deps, count]);
  return {...answer, reload: () => setCount(n => n + 1)};
}
