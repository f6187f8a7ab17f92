import {html} from './vendor/preact.js';

export function ConsumersView({place, parameters}) {
  return html`<h1>Consumers</h1><p>${place} ${JSON.stringify(parameters)}</p>`;
}
