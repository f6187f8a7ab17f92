// JSON as text.  JSON.parse rounds numbers, so data is never parsed by it: it is cut into the texts of its parts, one
// level at a time and no deeper than is looked at.

const STOP = /["[\]{}]/g;
const SCALAR_END = /[\s,\]}]|$/g;
const SPACE = /[^\s]|$/g;

function skipSpace(text, at) {
  SPACE.lastIndex = at;
  return SPACE.exec(text).index;
}

function skipString(text, at) {
  for (let end = at;;) {
    end = text.indexOf('"', end + 1);
    if (end < 0)
      throw new SyntaxError('a string of JSON has no end');
    let back = end;
    while (text[back - 1] === '\\')
      back--;
    if ((end - back) % 2 === 0)
      return end + 1;
  }
}

/** Where the value that begins at `at` has ended. */
export function skip(text, at) {
  if (text[at] === '"')
    return skipString(text, at);
  if (text[at] !== '[' && text[at] !== '{') {
    SCALAR_END.lastIndex = at;
    return SCALAR_END.exec(text).index;
  }
  STOP.lastIndex = at;
  for (let depth = 0, found; (found = STOP.exec(text));) {
    if (found[0] === '"')
      STOP.lastIndex = skipString(text, found.index);
    else if (found[0] === '[' || found[0] === '{')
      depth++;
    else if (--depth === 0)
      return found.index + 1;
  }
  throw new SyntaxError('JSON ends early');
}

/** The kind of a value: object, array, string, number, boolean or null. */
export function kind(text) {
  const first = text[0];
  return first === '{' ? 'object' : first === '[' ? 'array' : first === '"' ? 'string' : first === 'n' ? 'null' :
    first === 't' || first === 'f' ? 'boolean' : 'number';
}

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

/** The messages of an array of them. */
export const messages = (text, stream) => items(text).map(one => message(one, stream));

/** The same JSON with line ends and indentation. */
export function pretty(text, indent = '') {
  const open = text[0];
  if (open !== '{' && open !== '[')
    return text;
  const inner = indent + '  ';
  const lines = parts(text).map(part =>
    inner + (part.key !== undefined ? JSON.stringify(part.key) + ': ' : '') + pretty(part.text, inner));
  return lines.length ? open + '\n' + lines.join(',\n') + '\n' + indent + (open === '{' ? '}' : ']') : text;
}
