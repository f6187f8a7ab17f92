import {html} from './vendor/preact.js';

export function NamespaceView({place, parameters}) {
  return html`<h1>Namespace</h1><p>${place} ${JSON.stringify(parameters)}</p>`;
}
