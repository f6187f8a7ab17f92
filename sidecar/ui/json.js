// JSON as text.  JSON.parse rounds numbers, so data is never parsed by it: it is cut into the texts of its parts, one
// level at a time and no deeper than is looked at.

const QUOTE = 34, COMMA = 44, OPEN_LIST = 91, BACKSLASH = 92, CLOSE_LIST = 93, OPEN = 123, CLOSE = 125;
const KINDS = {'{': 'object', '[': 'array', '"': 'string', n: 'null', t: 'boolean', f: 'boolean'};
const MAX_INDENT = 40;  // levels; a deeper one is at the same place

function skipSpace(text, at) {
  while (text.charCodeAt(at) <= 32)
    at++;
  return at;
}

function skipString(text, at) {
  for (let end = at;;) {
    end = text.indexOf('"', end + 1);
    if (end < 0)
      throw new SyntaxError('a string of JSON has no end');
    let back = end;
    while (text.charCodeAt(back - 1) === BACKSLASH)
      back--;
    if ((end - back) % 2 === 0)
      return end + 1;
  }
}

/** Where the value that begins at `at` has ended. */
export function skip(text, at) {
  let depth = 0;
  do {
    const code = text.charCodeAt(at);
    if (code === QUOTE)
      at = skipString(text, at);
    else {
      if (code === OPEN || code === OPEN_LIST)
        depth++;
      else if (code === CLOSE || code === CLOSE_LIST)
        depth--;
      at++;
      if (depth === 0 && code !== CLOSE && code !== CLOSE_LIST)  // a number or a word
        for (let next; (next = text.charCodeAt(at)) > 32 && next !== COMMA && next !== CLOSE && next !== CLOSE_LIST;)
          at++;
    }
  } while (depth > 0 && at < text.length);
  if (depth > 0)
    throw new SyntaxError('JSON ends early');
  return at;
}

/** The kind of a value: object, array, string, number, boolean or null. */
export const kind = text => KINDS[text[0]] || 'number';

/** The parts of an array or object, in order, each {key, text}; `key` is undefined in an array. */
export function parts(text) {
  const named = text[0] === '{';
  const found = [];
  let at = skipSpace(text, 1);
  while (text[at] !== ']' && text[at] !== '}') {
    const part = {};
    if (named) {
      const end = skipString(text, at);
      part.key = JSON.parse(text.slice(at, end));
      at = skipSpace(text, skipSpace(text, end) + 1);
    }
    const end = skip(text, at);
    part.text = text.slice(at, end);
    found.push(part);
    at = skipSpace(text, end);
    if (text[at] === ',')
      at = skipSpace(text, at + 1);
    else if (at >= text.length)
      throw new SyntaxError('JSON ends early');
  }
  return found;
}

/** The texts of an array's items. */
export const items = text => parts(text).map(part => part.text);

/** The text of an object's member; undefined: it has none. */
export const member = (text, key) => text[0] === '{' ? parts(text).find(part => part.key === key)?.text : undefined;

/** A string member's value; undefined: there is none. */
export function memberString(text, key) {
  const found = member(text, key);
  return found !== undefined && found[0] === '"' ? JSON.parse(found) : undefined;
}

/**
 * A message from the text of its array: of 8 elements, or of 7 without the stream, which is then `stream`.
 * `data` and `metadata` are texts; positions are numbers.
 */
export function message(text, stream) {
  const all = items(text);
  if (all.length === 8)
    stream = JSON.parse(all.splice(1, 1)[0]);
  return {
    id: JSON.parse(all[0]), stream, type: JSON.parse(all[1]), position: Number(all[2]),
    globalPosition: Number(all[3]), data: all[4], metadata: all[5], time: JSON.parse(all[6]),
  };
}

/** Whether the content of a message was taken away. */
export const isRedacted = ({metadata}) =>
  metadata.includes('"millrace.redacted"') && member(metadata, 'millrace.redacted') === 'true';

/** The messages of an array of them. */
export const messages = (text, stream) => items(text).map(one => message(one, stream));

/** The same JSON with line ends and indentation. */
export function pretty(text) {
  let out = '', depth = 0;
  const line = () => '\n' + '  '.repeat(Math.min(depth, MAX_INDENT));
  for (let at = skipSpace(text, 0), end; at < text.length; at = skipSpace(text, end)) {
    const first = text[at];
    end = '{}[],:'.includes(first) ? at + 1 : skip(text, at);
    if (first === '{' || first === '[') {
      const next = skipSpace(text, end);
      const empty = text[next] === '}' || text[next] === ']';
      if (empty)
        end = next + 1;
      else
        depth++;
      out += first + (empty ? text[next] : line());
    } else if (first === '}' || first === ']') {
      depth--;
      out += line() + first;
    } else
      out += first === ',' ? first + line() : first === ':' ? ': ' : text.slice(at, end);
  }
  return out;
}
