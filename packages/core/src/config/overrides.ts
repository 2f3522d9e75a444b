import { WhetstoneError, type Json } from '../contract/index.js';
import { formatPath, parsePath, type Path } from './paths.js';
import { isObject, pluginSlots } from './slots.js';

/** A value to set in a configuration before validation. */
export interface Override {
  readonly path: Path;
  readonly value: Json;
}

/**
 * Parses `a.b[0].c=value`. The value is parsed as JSON; if that fails, it is the text itself, so that
 * `strategy.use=lora` needs no quotes.
 *
 * @throws `USAGE` if the path is missing or malformed
 */
export function parseOverride(text: string): Override {
  const equals = text.indexOf('=');
  const path = parsePath(text.slice(0, Math.max(0, equals)).trim());
  if (equals <= 0 || path.length === 0 || path.includes('')) {
    throw new WhetstoneError('USAGE', `The setting '${text}' is malformed.`, {
      expected: 'a path and a value, for example optimizer.learningRate=1e-4',
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

/** Returns the long form of a name at this path, so that options can be added to it; the name itself if it has none. */
export function longForm(text: string, path: Path): unknown {
  if (path.join('.') === 'backend') return { name: text };
  const kind = slotAt(path)?.kind;
  if (kind === undefined || kind === 'data-source') return text;
  return kind === 'model' ? { path: text } : { use: text };
}

/**
 * Returns a copy of a raw configuration with the overrides applied in order. Missing objects on a path are created. A
 * plugin, backend or model given by its name becomes its long form. An index of a list must exist or be the next one.
 *
 * @throws `USAGE` if a path leads through a value that is not an object or list, or has an invalid index
 */
export function applyOverrides(config: unknown, overrides: readonly (string | Override)[]): unknown {
  return overrides.reduce((result, item) => {
    const { path, value } = typeof item === 'string' ? parseOverride(item) : item;
    return setAt(result, path, value, []);
  }, config);
}

/** Returns a copy of `target`, which is at the path `done`, with the value set at `path` below it. */
function setAt(target: unknown, path: Path, value: Json, done: Path): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  const here = [...done, key];
  if (Array.isArray(target)) {
    if (typeof key !== 'number' || key > target.length) throw cannotSet(done, here, target);
    const copy: unknown[] = [...(target as readonly unknown[])];
    copy[key] = setAt(copy[key], rest, value, here);
    return copy;
  }
  const object =
    target === undefined || target === null ? {} : typeof target === 'string' ? longForm(target, done) : target;
  if (!isObject(object)) throw cannotSet(done, here, target);
  return { ...object, [key]: setAt(Object.hasOwn(object, key) ? object[key] : undefined, rest, value, here) };
}

function cannotSet(parent: Path, path: Path, found: unknown): WhetstoneError {
  return new WhetstoneError('USAGE', `'${formatPath(path)}' cannot be set.`, {
    place: { path: formatPath(parent) },
    expected: Array.isArray(found) ? `an index from 0 to ${found.length}` : 'an object',
    found: Array.isArray(found) ? String(path.at(-1)) : (JSON.stringify(found) ?? String(found)),
  });
}
