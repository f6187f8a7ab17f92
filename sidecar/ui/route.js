// Addresses of the page: /ui/PLACE?PARAMETERS.  Names are parameters, since a path takes "." and ".." for its own.

export const ROOT = '/ui/';

/** 'went': the address has changed.  'refused': the server no longer takes the token (detail: Failure).  'theme'. */
export const events = new EventTarget();

/** The address of a place; parameters that are undefined, null or empty are left out, but for `name`. */
export function addressOf(place, parameters = {}) {
  const given = Object.entries(parameters).filter(([key, value]) =>
    value !== undefined && value !== null && (value !== '' || key === 'name'));
  const query = new URLSearchParams(given).toString();
  return ROOT + place + (query ? '?' + query : '');
}

export const streamAddress = (name, at) => addressOf('stream', {name, at});
export const categoryAddress = (name, at) => addressOf('category', {name, at});
export const messageAddress = id => addressOf('message', {id});

/** Where the page is: {place, parameters}. */
export function parameters() {
  return {place: location.pathname.slice(ROOT.length).replace(/\/$/, ''),
          parameters: Object.fromEntries(new URLSearchParams(location.search))};
}

const tell = () => events.dispatchEvent(new Event('went'));

export function goTo(address, replace = false) {
  history[replace ? 'replaceState' : 'pushState'](null, '', address);
  if (!replace)
    scrollTo(0, 0);
  tell();
}

/** Shows a place.  `replace`: the address before is not kept in the history. */
export const go = (place, parameters, replace) => goTo(addressOf(place, parameters), replace);

/** Changes some parameters of the address and leaves the others. */
export function change(some) {
  const {place, parameters: given} = parameters();
  go(place, {...given, ...some}, true);
}

addEventListener('popstate', tell);

addEventListener('click', event => {
  const link = event.target.closest && event.target.closest('a[href]');
  if (!link || event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey ||
      event.altKey || link.target || link.download || link.origin !== location.origin ||
      !link.pathname.startsWith(ROOT) || link.getAttribute('href').startsWith('#'))
    return;
  event.preventDefault();
  goTo(link.href);
});
