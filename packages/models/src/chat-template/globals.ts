/** The functions that every template can call. */
import { bind, integerOf } from './arguments.js';
import { exceeded, MAX_RANGE } from './bounds.js';
import { fromKeys } from './members.js';
import { Scope } from './scope.js';
import { strftime } from './strftime.js';
import {
  callable,
  dictionary,
  isMapping,
  iterate,
  pairsOf,
  printed,
  rangeValue,
  required,
  text,
  type Arguments,
  type Native,
  type Value,
} from './values.js';

/** Declares the global functions. `clock.now` is the time of `strftime_now`. */
export function createGlobals(clock: { readonly now: Date }): Scope {
  const globals = new Scope();
  const natives: Readonly<Record<string, Native>> = {
    raise_exception: (args) => {
      throw new Error(printed(bind('raise_exception', args, 'message').need('message')));
    },
    strftime_now: (args) => text(strftime(clock.now, printed(bind('strftime_now', args, 'format').need('format')))),
    range,
    namespace,
    cycler,
    joiner,
    lipsum: () => {
      throw new Error('lipsum() is not supported: a template must render equally every time');
    },
  };
  for (const [name, native] of Object.entries(natives)) globals.set(name, callable(name, native));
  globals.set('dict', {
    type: 'function',
    label: 'dict',
    value: (args) => dictionary(pairsOfArguments('dict', args)),
    attributes: new Map([['fromkeys', callable('fromkeys', fromKeys)]]),
  });
  return globals;
}

/** Returns the pairs of the arguments of `dict(…)` and `namespace(…)`: a dict or a list of pairs, and keywords. */
function pairsOfArguments(label: string, { positional, keywords }: Arguments): (readonly [Value, Value])[] {
  if (positional.length > 1) throw new Error(`${label} expected at most 1 argument, got ${positional.length}`);
  const [source] = positional;
  const pairs =
    source === undefined
      ? []
      : isMapping(source)
        ? pairsOf(source)
        : iterate(required(source)).map((pair) => {
            const [key, value, ...others] = iterate(pair);
            if (key === undefined || value === undefined || others.length > 0)
              throw new Error(`${label} needs pairs of a key and a value`);
            return [key, value] as const;
          });
  return [...pairs, ...Array.from(keywords, ([key, value]) => [text(key), value] as const)];
}

function namespace(args: Arguments): Value {
  const members = new Map<string, Value>();
  for (const [key, value] of pairsOfArguments('namespace', args)) {
    const name = printed(key);
    if (name.startsWith('_'))
      throw new Error(`Chat templates cannot store underscore-prefixed attributes on a namespace: '${name}'`);
    members.set(name, value);
  }
  return { type: 'namespace', value: members };
}

function range({ positional, keywords }: Arguments): Value {
  if (keywords.size > 0) throw new Error('range() takes no keyword arguments');
  if (positional.length === 0 || positional.length > 3)
    throw new Error(`range expected 1 to 3 arguments, got ${positional.length}`);
  const numbers = positional.map(integerOf);
  const [start, stop, step] =
    numbers.length === 1 ? [0, numbers[0] ?? 0, 1] : [numbers[0] ?? 0, numbers[1] ?? 0, numbers[2] ?? 1];
  if (step === 0) throw new Error('range() arg 3 must not be zero');
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (count > MAX_RANGE) exceeded('A range of the template is too big', MAX_RANGE, 'items');
  return rangeValue(start, stop, step);
}

/** `cycler(…)`: returns its items one after another. */
function cycler({ positional }: Arguments): Value {
  if (positional.length === 0) throw new Error('at least one item has to be provided');
  let at = 0;
  const current = (): Value => positional[at] as Value;
  return {
    type: 'object',
    value: null,
    label: 'Cycler',
    attribute: (name) => {
      if (name === 'current') return current();
      if (name === 'next')
        return callable('next', () => {
          const value = current();
          at = (at + 1) % positional.length;
          return value;
        });
      if (name === 'reset')
        return callable('reset', () => {
          at = 0;
          return { type: 'none', value: null };
        });
      return undefined;
    },
  };
}

/** `joiner(separator)`: returns nothing when it is called first, then the separator. */
function joiner(args: Arguments): Value {
  const separator = bind('joiner', args, 'sep').get('sep') ?? text(', ');
  let used = false;
  return {
    type: 'object',
    value: null,
    label: 'Joiner',
    attribute: () => undefined,
    call: () => {
      if (used) return separator;
      used = true;
      return text('');
    },
  };
}
