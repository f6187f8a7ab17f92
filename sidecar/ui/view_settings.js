// A namespace's settings: who may do what in it, and what it keeps.  `name` is the namespace; only the administrator of
// all may look at another one than the token's.

import {html, useState} from './vendor/preact.js';
import {batch, isAdministrator, namespace, rpc, useAnswer} from './api.js';
import {readTime} from './box.js';
import {Changes, Choice, Field, repeat, Switch, Tick} from './change.js';
import {categoryAddress} from './route.js';
import {Table} from './table.js';
import {count, Copy, exactly, localTime, readDuration, Title, Trouble, Waiting} from './ui.js';

const REMOVALS = 20;  // that are shown, the last ones

const listOf = text => text.split(',').map(one => one.trim()).filter(Boolean);

function Part({label, columns, rows, empty, children}) {
  return html`<section class="part" aria-label=${label}><h2>${label}</h2>${children}
    <${Table} fit label=${label} columns=${columns} count=${rows.length} row=${n => rows[n]} keyOf=${n => n + rows[n][0]}
      empty=${empty} /></section>`;
}

// ---- tokens -------------------------------------------------------------------------------------------------

const RIGHTS = ['read', 'append', 'remove', 'administer'];

const TOKENS = [
  {name: 'Name', width: '1fr', small: '1fr'}, {name: 'Rights', width: '1fr', small: '1fr'},
  {name: 'Expires', width: '204px', small: '100px', className: 'time'},
  {name: 'Created', width: '204px', className: 'time'},
];

const rowOfToken = ({name, rights, expiresAt, expired, createdAt}) => [name, rights.join(', '),
  !expiresAt ? 'never' : html`<span class=${expired ? 'bad' : ''}>${expired && 'expired '}${localTime(expiresAt).slice(0, 10)}<span
    class="wide">${localTime(expiresAt).slice(10)}</span></span>`,
  createdAt && localTime(createdAt)];

function TokenFields({given, give}) {
  return html`<${Field} name="name" value=${given.name} give=${give}>named<//>
    ${RIGHTS.map(right => html`<${Tick} name=${right} checked=${given[right]} give=${give}>${right}<//>`)}
    <${Field} name="expires" value=${given.expires} give=${give} placeholder="2027-01-31, or never">expires<//>`;
}

/** What is said of a new token. */
const Made = ({name, token}) => html`<span class="made">Token <b>${name}</b>, shown this once:${' '}
  <code class="mono">${token}</code> <${Copy} text=${token} /></span>`;

// given: {space, tokens, name, expires, chosen, and each right}.
const TOKEN_CHANGES = {
  create: {
    label: 'Make a token', fields: TokenFields,
    ready: given => given.name && RIGHTS.some(right => given[right]) && (!given.expires || readTime(given.expires)),
    run: async given => html`<${Made} ...${await rpc('ns.createToken', given.space, given.name, {
      rights: RIGHTS.filter(right => given[right]),
      ...(given.expires && {expiresAt: readTime(given.expires).toISOString()})})} />`,
  },
  revoke: {
    label: 'Revoke a token', word: ({chosen}) => chosen, named: 'token’s name',
    note: 'It opens the namespace no more, also for this page, if that uses it. “first” is the one that the namespace came with.',
    fields: ({given, give}) => html`<${Choice} name="chosen" value=${given.chosen} give=${give}
      options=${[['', 'choose one'], ...given.tokens.map(one => one.name)]}>named<//>`,
    ready: ({chosen}) => chosen,
    run: async ({space, chosen}) => `Revoked: ${(await rpc('ns.revokeToken', space, chosen)).name}`,
  },
};

function Tokens({space, changing}) {
  const {value: tokens, error, reload} = useAnswer(() => rpc('ns.tokens', space), [space]);
  if (!tokens)
    return error ? html`<${Trouble} error=${error} retry=${reload} />` : html`<${Waiting} />`;
  return html`<${Part} label="Tokens" columns=${TOKENS} rows=${tokens.map(rowOfToken)} empty="None that was not revoked.">
    ${error && html`<${Trouble} error=${error} />`}
    ${changing && html`<${Changes} label="Change tokens" changes=${TOKEN_CHANGES} context=${{space, tokens}}
      initial=${{name: '', expires: '', chosen: '', read: true, append: false, remove: false, administer: false}}
      onDone=${reload} />`}
  <//>`;
}

// ---- what is kept -------------------------------------------------------------------------------------------

const POLICIES = [
  {name: 'Category', width: '1fr', small: '1fr'}, {name: 'Oldest', width: '110px', small: '76px', className: 'number'},
  {name: 'Of a stream', width: '110px', small: '90px', className: 'number'},
  {name: 'Waits for', width: '1fr'}, {name: 'Swept', width: '204px', className: 'time'},
  {name: 'Held', width: '1fr', small: '1fr'},
];

/** A category, which is a link where this page can show it. */
const inSpace = (space, category) => space === namespace() ?
  html`<a href=${categoryAddress(category)}>${category}</a>` : category;

const heldBy = ({heldBy, heldPosition}) => heldBy !== undefined ? `by ${heldBy} at ${count(heldPosition)}` : '';

const rowOfPolicy = (space, one) => [inSpace(space, one.category), one.maxAgeMs && exactly(one.maxAgeMs),
  one.maxCount && count(one.maxCount), one.hold.join(', '), one.sweptAt ? localTime(one.sweptAt) : 'not yet',
  html`<span class="bad">${heldBy(one)}</span>`];

const REMOVED = [
  {name: 'Category', width: '1fr', small: '1fr'}, {name: 'From', width: '120px', small: '80px', className: 'number'},
  {name: 'To', width: '120px', small: '80px', className: 'number'},
  {name: 'Streams', width: '90px', className: 'number'}, {name: 'When', width: '204px', className: 'time'},
];

const rowOfRemoval = (space, one) => [inSpace(space, one.category), count(one.from), count(one.to),
  one.streams === undefined ? 'all' : count(one.streams), localTime(one.removedAt)];

/** What the form of a policy holds. */
const formOf = one => ({age: one.maxAgeMs ? exactly(one.maxAgeMs).replace(/,/g, '') : '', most: String(one.maxCount ?? ''),
                        hold: one.hold.join(', '), forget: one.forget});

function PolicyFields({given, give}) {
  const giveCategory = ({category}) => {
    const known = given.policies.find(one => one.category === category);
    give({category, ...(known && formOf(known))});
  };
  return html`<${Field} name="category" value=${given.category} give=${giveCategory}>of category<//>
    <${Field} name="age" value=${given.age} give=${give} placeholder="90 d">what is older than<//>
    <${Field} name="most" value=${given.most} give=${give} placeholder="1000">of each stream all but the newest<//>
    <${Field} name="hold" value=${given.hold} give=${give} placeholder="consumers, with commas between">but not before<//>
    <${Tick} name="forget" checked=${given.forget} give=${give}>forget versions of streams that go<//>`;
}

const word = ({category}) => category;
const swept = answers => `Removed: ${count(answers.reduce((sum, one) => sum + one.removed, 0))}`;

// given: {space, policies, category, age, most, hold, forget, forced}.
const KEEP_CHANGES = {
  set: {
    label: 'Have sweeps remove', fields: PolicyFields, word, named: 'category’s name',
    note: 'It goes for good, at the sweeps from now on.',
    ready: ({category, age, most}) => category && (age || most) && (!age || readDuration(age)) && /^\s*(|[1-9]\d{0,15})\s*$/.test(most),
    run: async ({space, category, age, most, hold, forget}) => {
      await rpc('ns.setRetention', space, category, {
        ...(age && {maxAgeMs: readDuration(age)}), ...(most && {maxCount: Number(most)}), hold: listOf(hold), forget});
      return 'Swept from now on: ' + category;
    },
  },
  keep: {
    label: 'Have sweeps remove no more', word, named: 'category’s name',
    fields: ({given, give}) => html`<${Choice} name="category" value=${given.category} give=${give}
      options=${[['', 'choose one'], ...given.policies.map(one => one.category)]}>of category<//>`,
    ready: ({category}) => category,
    run: async ({space, category}) => {
      await rpc('ns.setRetention', space, category);
      return 'Kept from now on: ' + category;
    },
  },
  sweep: {
    label: 'Sweep now', word: ({space}) => space, named: 'namespace’s name',
    ready: ({policies}) => policies.length,
    fields: ({given, give}) => html`<${Tick} name="forced" checked=${given.forced} give=${give}>also what consumers hold:
      they go on without it<//>`,
    run: async ({space, forced}, tell) => {
      const answers = await repeat(() => rpc('ns.sweep', space, {forced}), answers => tell(swept(answers)));
      const {more, ...last} = answers[answers.length - 1];
      return [swept(answers), more && 'there is more', last.heldBy !== undefined && 'held ' + heldBy(last),
              last.moved && 'had to go on: ' + last.moved.join(', ')].filter(Boolean).join('; ');
    },
  },
};

function Kept({space, changing}) {
  const {value, error, reload} = useAnswer(() => batch([['ns.retention', space], ['ns.removals', space]]), [space]);
  if (!value)
    return error ? html`<${Trouble} error=${error} retry=${reload} />` : html`<${Waiting} />`;
  const [policies, removals] = value;
  return html`<${Part} label="What sweeps remove" columns=${POLICIES} rows=${policies.map(one => rowOfPolicy(space, one))}
      empty="Nothing: all is kept.">
    ${error && html`<${Trouble} error=${error} />`}
    ${changing && html`<${Changes} label="Change what is kept" changes=${KEEP_CHANGES} context=${{space, policies}}
      initial=${{category: '', age: '', most: '', hold: '', forget: false, forced: false}} onDone=${reload} />`}
  <//>
  <${Part} label="Removed lately" columns=${REMOVED} rows=${removals.slice(-REMOVALS).reverse().map(one =>
    rowOfRemoval(space, one))} empty="Nothing." />`;
}

// ---- the view ----------------------------------------------------------------------------------------------

export function SettingsView({parameters: {name = namespace()}}) {
  const [changing, setChanging] = useState(false);
  return html`<${Title} title="Settings" of=${name}><${Switch} on=${changing} set=${setChanging} /><//>
    <${Tokens} key=${'tokens ' + name} space=${name} changing=${changing} />
    ${isAdministrator() && html`<${Kept} key=${'kept ' + name} space=${name} changing=${changing} />`}`;
}
