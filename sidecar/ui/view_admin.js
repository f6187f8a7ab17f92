import {html} from './vendor/preact.js';

export function AdminView({place, parameters}) {
  return html`<h1>Admin</h1><p>${place} ${JSON.stringify(parameters)}</p>`;
}
