// The shell: which address is which view, the head of the page, its keys, light and dark, the token.

import {html, render, useEffect, useErrorBoundary, useReducer, useRef, useState} from './vendor/preact.js';
import {checkAccess, Failure, isAdministrator, mayAdminister, namespace, setToken, token} from './api.js';
import {Table} from './table.js';
import {addressOf, events, go, parameters} from './route.js';
import {Trouble} from './ui.js';
import {Box} from './box.js';
import {NamespaceView} from './view_namespace.js';
import {StreamsView} from './view_streams.js';
import {StreamView} from './view_stream.js';
import {MessageView} from './view_message.js';
import {SearchView} from './view_search.js';
import {ConsumersView} from './view_consumers.js';
import {AdminView} from './view_admin.js';
import {SettingsView} from './view_settings.js';

// By the first word of the path behind /ui/.  key: behind `g`.
const VIEWS = {
  '': {name: 'Overview', key: 'n', view: NamespaceView},
  streams: {name: 'Streams', key: 's', view: StreamsView},
  category: {name: 'Messages', key: 'm', view: StreamView},
  search: {name: 'Search', key: 'f', view: SearchView},
  consumers: {name: 'Consumers', key: 'c', view: ConsumersView},
  admin: {name: 'Server', key: 'a', view: AdminView, needs: isAdministrator},
  settings: {name: 'Settings', key: 't', view: SettingsView, needs: mayAdminister},
  stream: {view: StreamView},
  message: {view: MessageView},
};

// ---- light and dark ------------------------------------------------------------------------------------

const THEMES = {'': 'as the system', light: 'light', dark: 'dark'};

function useTheme() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme);
  const next = () => {
    const names = Object.keys(THEMES);
    const chosen = names[(names.indexOf(theme) + 1) % names.length];
    document.documentElement.dataset.theme = chosen;
    localStorage.setItem('theme', chosen);
    setTheme(chosen);
    events.dispatchEvent(new Event('theme'));
  };
  return [theme, next];
}

// ---- keys ------------------------------------------------------------------------------------------------

const isTyping = target => /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.isContentEditable;

function useKeys(setHelp) {
  useEffect(() => {
    let going;
    const listen = event => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || event.defaultPrevented)
        return;
      const wentTo = going && performance.now() - going < 1500 &&
        Object.entries(VIEWS).find(([, view]) => view.key === event.key);
      going = event.key === 'g' ? performance.now() : 0;
      if (wentTo)
        go(wentTo[0]);
      else if (event.key === '/')
        document.getElementById('box').focus();
      else if (event.key === '?')
        setHelp(true);
      else if (!(event.key.length === 1 && Table.last && Table.last.key(event.key)))
        return;
      event.preventDefault();
    };
    document.addEventListener('keydown', listen);
    return () => document.removeEventListener('keydown', listen);
  }, []);
}

function Help({onClose}) {
  const dialog = useRef();
  useEffect(() => dialog.current.showModal(), []);
  const key = (keys, what) => html`<tr><th scope="row">${keys.map(k => html`<kbd>${k}</kbd> `)}</th><td>${what}</td></tr>`;
  return html`<dialog ref=${dialog} class="help" onClose=${onClose} aria-label="Keys">
    <h2>Keys</h2>
    <table>
      ${key(['/'], 'to the box that finds streams, messages, positions and times')}
      ${key(['j', 'k'], 'next, previous row')}
      ${key(['o'], 'open it')}
      ${Object.values(VIEWS).filter(view => view.key).map(view => key(['g', view.key], view.name))}
      ${key(['?'], 'this list')}
    </table>
    <form method="dialog"><button autofocus>Close</button></form>
  </dialog>`;
}

// ---- the token -----------------------------------------------------------------------------------------

function SignIn({error, onDone}) {
  const [text, setText] = useState('');
  const submit = event => {
    event.preventDefault();
    setToken(text);
    onDone();
  };
  return html`<main class="signin"><form onSubmit=${submit}>
    <h1>Whose messages?</h1>
    <p>${token() ? 'The server no longer takes this token: ' + error.message : 'A token opens its namespace.'}</p>
    <label for="token">Token</label>
    <input id="token" type="password" autocomplete="off" spellcheck="false" placeholder="ns_…" value=${text}
      onInput=${event => setText(event.target.value)} />
    <button disabled=${!text.trim()}>Open</button>
    <p class="quiet">It stays in this tab until that is closed.</p>
  </form></main>`;
}

/** Whether the server takes the token: undefined while that is not known, true, or the Failure. */
function useAccess() {
  const [access, setAccess] = useState();
  const check = () => checkAccess().then(() => setAccess(true), setAccess);
  useEffect(() => {
    check();
    const refused = event => setAccess(event.detail);
    events.addEventListener('refused', refused);
    return () => events.removeEventListener('refused', refused);
  }, []);
  return [access, check];
}

// ---- the page ------------------------------------------------------------------------------------------

function Shown({place, parameters: given}) {
  const [error, reset] = useErrorBoundary();
  const view = VIEWS[place];
  if (error)
    return html`<main><${Trouble} error=${error} retry=${reset} /></main>`;
  if (!view)
    return html`<main><h1>Nothing here</h1><p><a href=${addressOf('')}>To the overview</a></p></main>`;
  return html`<main id="main" tabindex="-1"><${view.view} key=${place} place=${place} parameters=${given} /></main>`;
}

function Head({place, setHelp}) {
  const [theme, nextTheme] = useTheme();
  const nav = useRef();
  useEffect(() => nav.current.querySelector('[aria-current]')?.scrollIntoView({block: 'nearest', inline: 'center'}), [place]);
  const link = ([path, view]) => html`<a href=${addressOf(path)} aria-current=${path === place ? 'page' : undefined}>${
    view.name}</a>`;
  return html`<header>
    <a class="brand" href=${addressOf('')} title="Namespace ${namespace()}"><b>Millrace</b> <span>${namespace()}</span></a>
    <nav ref=${nav} aria-label="Views">${Object.entries(VIEWS).filter(([, view]) =>
      view.name && (!view.needs || view.needs())).map(link)}</nav>
    <${Box} />
    <button class="plain" onClick=${nextTheme} title="Light or dark: ${THEMES[theme]}"
      aria-label="Light or dark: ${THEMES[theme]}">${theme === 'dark' ? '☾' : theme === 'light' ? '☀' : '◐'}</button>
    <button class="plain" onClick=${() => setHelp(true)} title="Keys" aria-label="Keys">?</button>
  </header>`;
}

function App() {
  const [, update] = useReducer(n => n + 1, 0);
  const [help, setHelp] = useState(false);
  const [access, check] = useAccess();
  useKeys(setHelp);
  useEffect(() => {
    events.addEventListener('went', update);
    return () => events.removeEventListener('went', update);
  }, []);
  const {place, parameters: given} = parameters();
  return html`<a class="skip" href="#main">To the content</a>
    <${Head} place=${place} setHelp=${setHelp} />
    ${access instanceof Failure && access.needsToken ? html`<${SignIn} error=${access} onDone=${check} />` :
      access instanceof Failure ? html`<main><${Trouble} error=${access} retry=${check} /></main>` :
      html`<${Shown} place=${place} parameters=${given} />`}
    ${help && html`<${Help} onClose=${() => setHelp(false)} />`}`;
}

render(html`<${App} />`, document.getElementById('app'));
