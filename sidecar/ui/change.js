// What changes something: behind a switch, and done when a name is typed.

import {html, useEffect, useRef, useState} from './vendor/preact.js';
import {Trouble} from './ui.js';

export function Switch({on, set}) {
  return html`<label class="switch"><input type="checkbox" role="switch" checked=${on}
    onChange=${event => set(event.target.checked)} /> Allow changes</label>`;
}

/** A box to tick: give gets {[name]: whether it is}. */
export function Tick({name, checked, give, children}) {
  return html`<label><input type="checkbox" name=${name} checked=${checked}
    onChange=${event => give({[name]: event.target.checked})} /> ${children}</label>`;
}

/** A text to type: give gets {[name]: text}. */
export function Field({name, value, give, children, ...more}) {
  return html`<label>${children} <input name=${name} value=${value} autocomplete="off" spellcheck="false" ...${more}
    onInput=${event => give({[name]: event.target.value})} /></label>`;
}

/** One of some: options are [value, text], or values. */
export function Choice({name, value, give, options, children}) {
  return html`<label>${children} <select name=${name} value=${value}
      onChange=${event => give({[name]: event.target.value})}>
    ${options.map(one => [one].flat()).map(([value, text = value]) => html`<option value=${value}>${text}</option>`)}
  </select></label>`;
}

/** Calls step() until its answer has no more, or tell(the answers) says that it is enough. */
export async function repeat(step, tell) {
  for (const answers = [];;) {
    const answer = await step(answers[answers.length - 1]);
    answers.push(answer);
    if (!(answer.more ?? answer.next !== null) || !tell(answers))
      return answers;
  }
}

/**
 * A form of changes, of which one is chosen.  changes: by name {label, note, fields, ready, run, word}.
 * given, what they get: `initial`, what was chosen since, and `context`.  fields: a component of {given, give};
 * ready(given): whether it can be done; run(given, tell): does it, and promises what is to be said of it; where it
 * takes long it calls tell(text), and ends when that is false.  word(given): what is typed before; undefined: nothing.
 * named: what that is the name of.  onDone is called behind each change, also one that failed.
 */
export function Changes({label, changes, initial = {}, context, named, onDone}) {
  const [options, setOptions] = useState({change: Object.keys(changes)[0], ...initial});
  const [typed, setTyped] = useState('');
  const [outcome, setOutcome] = useState({});
  const stopped = useRef();
  useEffect(() => () => stopped.current = true, []);
  const given = {...options, ...context};
  const change = changes[options.change] || Object.values(changes)[0];
  const word = change.word && change.word(given);
  const give = some => setOptions(before => ({...before, ...some}));
  const submit = async event => {
    event.preventDefault();
    stopped.current = false;
    setOutcome({busy: true});
    setTyped('');
    const tell = said => {
      if (!stopped.current)
        setOutcome({busy: true, said});
      return !stopped.current;
    };
    const done = await change.run(given, tell).then(said => ({said}), error => ({error}));
    if (!done.error)
      give(initial);
    setOutcome(done);
    onDone();
  };
  const ready = (!change.ready || change.ready(given)) && (word === undefined || typed === word) && !outcome.busy;
  return html`<form class="panel changes" onSubmit=${submit} aria-label=${label}>
    <div class="tools">
      <select aria-label="What to do" value=${options.change}
          onChange=${event => { setOptions({...options, ...initial, change: event.target.value}); setOutcome({}); }}>
        ${Object.entries(changes).map(([name, one]) => html`<option value=${name}>${one.label}</option>`)}
      </select>
      ${change.fields && html`<${change.fields} given=${given} give=${give} />`}
    </div>
    ${change.note && html`<p class="quiet">${change.note}</p>`}
    <div class="tools">
      ${word !== undefined && html`<label>Type the ${change.named || named} <input name="confirm" value=${typed}
        autocomplete="off" spellcheck="false" onInput=${event => setTyped(event.target.value)} /></label>`}
      <button class="danger" disabled=${!ready}>Do it</button>
      ${outcome.busy && outcome.said && html`<button type="button" onClick=${() => stopped.current = true}>Stop</button>`}
      <span role="status">${outcome.said}</span>
    </div>
    ${outcome.error && html`<${Trouble} error=${outcome.error} />`}
  </form>`;
}
