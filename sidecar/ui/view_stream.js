import {html} from './vendor/preact.js';

export function StreamView({place, parameters}) {
  return html`<h1>Stream</h1><p>${place} ${JSON.stringify(parameters)}</p>`;
}
