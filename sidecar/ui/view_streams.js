import {html} from './vendor/preact.js';

export function StreamsView({place, parameters}) {
  return html`<h1>Streams</h1><p>${place} ${JSON.stringify(parameters)}</p>`;
}
