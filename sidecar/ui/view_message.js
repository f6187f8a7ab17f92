import {html} from './vendor/preact.js';

export function MessageView({place, parameters}) {
  return html`<h1>Message</h1><p>${place} ${JSON.stringify(parameters)}</p>`;
}
