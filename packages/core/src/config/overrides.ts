import { WhetstoneError, type Json } from '../contract/index.js';
import { formatPath, parsePath, type Path } from './paths.js';
import { isObject, pluginSlots } from './slots.js';

/** One value to put into a configuration before it is validated. */
export interface Override {
  readonly path: Path;
  readonly value: Json;
}

/**
 * Reads `a.b[0].c=value`: the value is JSON where it parses as JSON, else the text as it is, so that
 * `strategy.use=lora` needs no quotes.
 *
 * @throws WhetstoneError `USAGE`
 */
export function parseOverride(text: string): Override {
  const equals = text.indexOf('=');
  const path = parsePath(text.slice(0, Math.max(0, equals)).trim());
  if (equals <= 0 || path.length === 0 || path.includes('')) {
    throw new WhetstoneError('USAGE', `The setting '${text}' is not understood.`, {
      expected: 'a path and a value, as optimizer.learningRate=1e-4',
      found: text,
    });
  }
  const value = text.slice(equals + 1);
  try {
    return { path, value: JSON.parse(value) as Json };
  } catch {
    return { path, value };
  }
}

const slotAt = (path: Path) =>
  pluginSlots.find((slot) => {
    const own = slot.list ? path.slice(0, -1) : path;
    return own.join('.') === slot.path.join('.') && (!slot.list || typeof path.at(-1) === 'number');
  });

/**
 * What a bare name at this place is short for; the text as it is where it is short for nothing that more can be put
 * into.
 */
function longForm(text: string, path: Path): unknown {
  if (path.join('.') === 'backend') return { name: text };
  const kind = slotAt(path)?.kind;
  if (kind === undefined || kind === 'data-source') return text;
  return kind === 'model' ? { path: text } : { use: text };
}

/**
 * A copy of a raw configuration with the overrides put in, in order. Objects that are missing on the way are made; a
 * plugin, backend or model written as a bare name becomes its long form; a list is only ever changed at an index that
 * it has, or lengthened by one.
 *
 * @throws WhetstoneError `USAGE` where something else than an object or list is in the way
 */
export function applyOverrides(config: unknown, overrides: readonly (string | Override)[]): unknown {
  return overrides.reduce((result, item) => {
    const { path, value } = typeof item === 'string' ? parseOverride(item) : item;
    return put(result, path, value, []);
  }, config);
}

function put(target: unknown, path: Path, value: Json, done: Path): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  const here = [...done, key];
  if (Array.isArray(target)) {
    if (typeof key !== 'number' || key > target.length) throw inTheWay(done, here, target);
    const copy: unknown[] = [...(target as readonly unknown[])];
    copy[key] = put(copy[key], rest, value, here);
    return copy;
  }
  const object =
    target === undefined || target === null ? {} : typeof target === 'string' ? longForm(target, done) : target;
  if (!isObject(object)) throw inTheWay(done, here, target);
  return { ...object, [key]: put(Object.hasOwn(object, key) ? object[key] : undefined, rest, value, here) };
}

function inTheWay(done: Path, wanted: Path, found: unknown): WhetstoneError {
  return new WhetstoneError('USAGE', `'${formatPath(wanted)}' cannot be set.`, {
    place: { path: formatPath(done) },
    expected: Array.isArray(found) ? `an index from 0 to ${found.length}` : 'an object',
    found: Array.isArray(found) ? String(wanted.at(-1)) : (JSON.stringify(found) ?? String(found)),
  });
}
