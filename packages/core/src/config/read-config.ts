import { dirname, resolve } from 'node:path';
import {
  createScanner,
  findNodeAtLocation,
  parseTree,
  printParseErrorCode,
  getNodeValue,
  type Node,
  type ParseError,
} from 'jsonc-parser';
import { isWhetstoneError, WhetstoneError, type Place } from '../contract/index.js';
import { readText } from '../files/index.js';
import { formatPath, type Path } from './paths.js';
import { isObject } from './slots.js';
import { isNestedDeeper, MAX_JSON_DEPTH } from '../util/index.js';

/** A configuration before validation, with the positions of its keys. */
export interface RawConfig {
  readonly value: unknown;
  /** The absolute folder that relative paths start from. */
  readonly baseFolder: string;
  /** The absolute path of the file; null for a configuration given as an object. */
  readonly file: string | null;
  /** Returns the position of a key: its JSON path, and its file, line and column if they are known. */
  locate(path: Path): Place;
}

/** Returns the `baseFolder` of the configuration, relative to `folder`, or `folder` if it has none. */
function baseFolderOf(value: unknown, folder: string): string {
  const own = isObject(value) ? value['baseFolder'] : undefined;
  return typeof own === 'string' ? resolve(folder, own) : resolve(folder);
}

/** Returns a configuration with a different value, for example after overrides, and the same positions. */
export function withValue(raw: RawConfig, value: unknown): RawConfig {
  return { ...raw, value, baseFolder: baseFolderOf(value, raw.file === null ? raw.baseFolder : dirname(raw.file)) };
}

/**
 * Returns the raw form of a configuration given as an object. Relative paths start from `baseFolder`.
 *
 * @throws `CONFIG_UNREADABLE` if it is nested too deeply
 * @throws `CONFIG_INVALID` if it contains a function or another value that JSON has not
 */
export function rawConfigOf(value: unknown, baseFolder: string): RawConfig {
  if (isNestedDeeper(value)) throw nestedTooDeeply({});
  const foreign = findForeign(value, []);
  if (foreign !== null) throw notPlain(foreign);
  return {
    value,
    baseFolder: baseFolderOf(value, baseFolder),
    file: null,
    locate: (path) => (path.length === 0 ? {} : { path: formatPath(path) }),
  };
}

/** A value that no JSON file can contain, and that cannot be copied. */
interface ForeignValue {
  readonly type: string;
  readonly path: Path;
}

function findForeign(value: unknown, path: Path): ForeignValue | null {
  if (['function', 'symbol', 'bigint'].includes(typeof value)) return { type: typeof value, path };
  if (typeof value !== 'object' || value === null) return null;
  for (const [key, inner] of Object.entries(value)) {
    const found = findForeign(inner, [...path, Array.isArray(value) ? Number(key) : key]);
    if (found !== null) return found;
  }
  return null;
}

const notPlain = ({ type, path }: ForeignValue): WhetstoneError =>
  new WhetstoneError(
    'CONFIG_INVALID',
    `${path.length === 0 ? 'The configuration' : formatPath(path)} is a ${type}, which a configuration cannot contain.`,
    {
      place: path.length === 0 ? {} : { path: formatPath(path) },
      expected: 'a value that JSON can represent',
      found: `a ${type}`,
      ...(path[0] === 'callbacks'
        ? { hint: 'Pass callbacks as objects with the options: new Trainer(config, { callbacks: [callback] }).' }
        : {}),
    },
  );

/**
 * Reads a configuration file: JSON in which comments and trailing commas are allowed.
 *
 * @throws `CONFIG_UNREADABLE` if the file cannot be read, has syntax errors, repeats a key in one object, or is nested
 *   too deeply
 */
export async function readConfigFile(path: string): Promise<RawConfig> {
  const source = await readSource(resolve(path));
  const tree = parse(source);
  const value: unknown = getNodeValue(tree);
  const { file } = source;
  return {
    value,
    baseFolder: baseFolderOf(value, dirname(file)),
    file,
    locate: (where) => locateIn(tree, source, where),
  };
}

/** The text of a configuration file. */
interface Source {
  readonly file: string;
  readonly text: string;
}

/** @throws `CONFIG_UNREADABLE` if the file does not exist or cannot be read */
async function readSource(file: string): Promise<Source> {
  try {
    return { file, text: (await readText(file)).replace(/^\uFEFF/, '') };
  } catch (cause) {
    const missing = (cause as { code?: unknown }).code === 'ENOENT';
    const { expected, found } = isWhetstoneError(cause) ? cause : { expected: undefined, found: undefined };
    throw new WhetstoneError(
      'CONFIG_UNREADABLE',
      missing ? 'The configuration file does not exist.' : 'The configuration file cannot be read.',
      { place: { file }, expected, found, cause },
    );
  }
}

/** Returns the file, line and column of an offset in the text. */
function positionOf({ file, text }: Source, offset: number): Place {
  const before = text.slice(0, offset).split('\n');
  return { file, line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

/**
 * Parses the text to a tree, which contains positions.
 *
 * @throws `CONFIG_UNREADABLE` with all syntax errors, or with all repeated keys
 */
function parse(source: Source): Node {
  checkDepth(source);
  const errors: ParseError[] = [];
  const tree = parseTree(source.text, errors, { allowTrailingComma: true });
  const [first, ...rest] = errors.map((error) => ({
    message: describeSyntaxError(error),
    place: positionOf(source, error.offset),
  }));
  if (first !== undefined)
    throw new WhetstoneError('CONFIG_UNREADABLE', `The configuration file is not valid JSON: ${first.message}.`, {
      place: first.place,
      problems: rest,
    });
  if (tree === undefined)
    throw new WhetstoneError('CONFIG_UNREADABLE', 'The configuration file is empty.', {
      place: { file: source.file },
      expected: 'a JSON object',
    });
  const [repetition, ...further] = repeatedKeys(tree).map(({ key, offset }) => ({
    message: `The key '${key}' occurs twice in one object.`,
    place: positionOf(source, offset),
  }));
  if (repetition !== undefined)
    throw new WhetstoneError('CONFIG_UNREADABLE', repetition.message, { place: repetition.place, problems: further });
  return tree;
}

/** The kinds of tokens of jsonc-parser: its enumeration is removed when it is compiled. */
const OPENING: readonly number[] = [1, 3];
const CLOSING: readonly number[] = [2, 4];
const END = 17;

/**
 * Checks the nesting before the text is parsed, because the parser calls itself for each level.
 *
 * @throws `CONFIG_UNREADABLE` with the position of the first level that is too deep
 */
function checkDepth(source: Source): void {
  const scanner = createScanner(source.text, true);
  let depth = 0;
  for (let token: number = scanner.scan(); token !== END; token = scanner.scan()) {
    if (OPENING.includes(token)) depth++;
    if (CLOSING.includes(token)) depth--;
    if (depth > MAX_JSON_DEPTH) throw nestedTooDeeply(positionOf(source, scanner.getTokenOffset()));
  }
}

const nestedTooDeeply = (place: Place): WhetstoneError =>
  new WhetstoneError('CONFIG_UNREADABLE', 'The configuration is nested too deeply.', {
    place,
    expected: `at most ${MAX_JSON_DEPTH} objects and lists in each other`,
  });

/** Returns the position of a key, or that of the innermost existing object that would contain it. */
function locateIn(tree: Node, source: Source, where: Path): Place {
  for (let depth = where.length; depth > 0; depth--) {
    const path = where
      .slice(0, depth)
      .map((part) => (typeof part === 'string' && /^\d+$/.test(part) ? Number(part) : part));
    const node = findNodeAtLocation(tree, path);
    if (node === undefined) continue;
    const { offset } = node.parent?.type === 'property' ? node.parent : node;
    return { ...positionOf(source, offset), path: formatPath(where) };
  }
  const { file } = source;
  return where.length === 0 ? { file } : { file, path: formatPath(where) };
}

function describeSyntaxError(error: ParseError): string {
  return printParseErrorCode(error.error)
    .replaceAll(/([a-z])([A-Z])/g, '$1 $2')
    .toLowerCase();
}

function repeatedKeys(node: Node): readonly { readonly key: string; readonly offset: number }[] {
  const seen = new Set<string>();
  return (node.children ?? []).flatMap((child) => {
    const found =
      child.type === 'property' ? (child.children?.slice(1) ?? []).flatMap(repeatedKeys) : repeatedKeys(child);
    const key = child.type === 'property' ? (child.children?.[0]?.value as string | undefined) : undefined;
    if (key === undefined) return found;
    const repeated = seen.has(key);
    seen.add(key);
    return repeated ? [{ key, offset: child.offset }, ...found] : found;
  });
}
