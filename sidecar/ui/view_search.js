import {html} from './vendor/preact.js';

export function SearchView({place, parameters}) {
  return html`<h1>Search</h1><p>${place} ${JSON.stringify(parameters)}</p>`;
}
