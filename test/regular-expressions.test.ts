import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createContext, Script } from 'node:vm';
import { parseSync } from 'oxc-parser';
import { describe, expect, it } from 'vitest';
import { fitPunctuation, tidySpaces } from '../packages/data/src/transforms/normalize/rules.js';
import { repository } from './support/execute.js';

// Text from outside must not make a regular expression of ours compute for minutes: each takes time in proportion to
// the text, or meets only short texts. A new expression is tried on the texts here by itself. It fails if one megabyte
// takes until the time-out; write it so that each position of a long run is tried once, for example with a lookbehind.

interface Expression {
  readonly file: string;
  readonly source: string;
  readonly flags: string;
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return ['dist', 'node_modules', 'testing'].includes(entry.name) ? [] : filesIn(path);
    return path.endsWith('.ts') && !path.endsWith('.test.ts') ? [path] : [];
  });
}

/** Returns the regular expressions in a source, and the calls that create one from text. */
function expressionsIn(file: string): { readonly literals: Expression[]; readonly created: string[] } {
  const text = readFileSync(file, 'utf8');
  const literals: Expression[] = [];
  const created: string[] = [];
  const visit = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    const { type, regex, callee, start, end } = node as {
      readonly type?: string;
      readonly regex?: { readonly pattern: string; readonly flags: string };
      readonly callee?: { readonly name?: string };
      readonly start: number;
      readonly end: number;
    };
    if (type === 'Literal' && regex !== undefined)
      literals.push({ file: file.slice(repository.length), source: regex.pattern, flags: regex.flags });
    if ((type === 'NewExpression' || type === 'CallExpression') && callee?.name === 'RegExp')
      created.push(text.slice(start, end).replaceAll(/\s+/g, ' '));
    for (const child of Object.values(node)) visit(child);
  };
  visit(parseSync(file, text).program);
  return { literals, created };
}

const folders = readdirSync(join(repository, 'packages')).map((name) => join(repository, 'packages', name, 'src'));
const found = folders.flatMap(filesIn).map(expressionsIn);
const literals = [...new Map(found.flatMap((one) => one.literals).map((one) => [`/${one.source}/${one.flags}`, one]))];

/** Expressions that need more than linear time, and what bounds their text. */
const BOUNDED: Readonly<Record<string, string>> = {
  '/\\.?0+$/': 'the decimals of a number: at most 1000 digits',
  '/^\\s*(.+?)\\s*,\\s*([^,]*?)\\s*$/': 'a line of nvidia-smi',
  '/%(?:\\(([^)]*)\\))?([-+ #0]*)(\\*|\\d+)?(?:\\.(\\*|\\d+)?)?[hlL]?([^])?/g':
    'ends at the first key without a bracket',
  '/^Model:\\s*(.+?)\\s*$/m': "a line of the driver's file",
};

/** Expressions that are created from text, and what bounds them. A new one fails until it is added here. */
const CREATED: readonly (readonly [start: string, bound: string])[] = [
  ["new RegExp(`^(${neededFiles.join('|')})$`)", 'names of files of a wheel'],
  ['new RegExp(`^bytes ${from}-`)', 'the beginning of a header'],
  ['new RegExp(`[', 'one class of characters'],
  ['new RegExp(`^[', 'one class of characters, repeated a few times'],
  ['new RegExp(`[${cjk}]|', 'classes without a common character'],
  ['new RegExp(`(?<=[${HAN}', 'tried below'],
  ['new RegExp(region +', 'repeated parts of a limited length'],
  ['new RegExp( `${houseNumber}', 'a street of at most five words after a number'],
  ['new RegExp( `(?:${chineseIntroduction}', 'names of at most four characters'],
  ['new RegExp( [ `(?:\\\\b${introduction}', 'names of at most three words'],
  ['new RegExp(`^(?:${addressees}', 'words at the beginning'],
  ['new RegExp(`${ENTITY_SLOT.source}', 'the expression ENTITY_SLOT, tried above'],
  ["new RegExp(ENTITY_SLOT, 'gu')", 'the expression ENTITY_SLOT, tried above'],
  ['new RegExp(`[^${BREAK}]*', 'tried with splitlines() of templates'],
  ['new RegExp(text.replace(', 'a literal text'],
  ["new RegExp(QUANTITY_PARTS.join('')", 'begins once in each run of digits; numerals and units have a limited length'],
  ['new RegExp(pattern, flags)', 'ended by withinTime'],
  ['new RegExp(translated)', 'ended by boundedPattern'],
  ['new RegExp(`${literal(home', 'a literal text, and the character after it'],
  ['new RegExp(`(?<![\\\\p{L}\\\\p{N}_])${literal(name)}', 'a literal text, and the characters around it'],
  ['new RegExp(`^${name}:?\\\\s+', 'a line of a file of the kernel'],
  ['new RegExp(`^${name}\\\\s+', 'a line of a file of the kernel'],
];

/** Searches as `pattern.exec(text)` does. In contrast to it, it can be ended while it runs. */
const search = new Script('pattern.exec(text)');

/** Long runs, each with a beginning that many expressions wait for and an end that they do not expect. */
const units = [' ', '\n', '0', 'a', '_', '.', '(', '%(', '漢', '\ufffd'];
const SIZE = 1_000_000;
const texts = units.flatMap((unit) => {
  const run = unit.repeat(SIZE / unit.length);
  return [`x${run}!`, `.[<"'{${run}\u0001`];
});

describe('a regular expression reads one megabyte of any run', () => {
  it.each(literals.filter(([name]) => !Object.hasOwn(BOUNDED, name)))(
    '%s',
    (_, { source, flags }) => {
      // A search that finds nothing begins at every position; a sticky one only where it is told to.
      const pattern = new RegExp(source, flags.replace('g', ''));
      for (const text of texts) {
        pattern.lastIndex = 1;
        search.runInContext(createContext({ pattern, text }), { timeout: 20_000 });
      }
      expect(texts.length).toBe(2 * units.length);
    },
    120_000,
  );

  it('that the rules of normalize are made of', () => {
    const han = '汉'.repeat(SIZE);
    expect(fitPunctuation(`汉(${han}`)).toHaveLength(SIZE + 2);
    expect(fitPunctuation(`汉${' '.repeat(SIZE)}a`)).toHaveLength(SIZE + 2);
    expect(tidySpaces(`a${' '.repeat(SIZE)}b${' '.repeat(SIZE)}\n`).length).toBeLessThan(10);
  }, 120_000);
});

it('every expression that is created from text is bounded', () => {
  const created = found.flatMap((one) => one.created);
  expect(created.filter((call) => !CREATED.some(([start]) => call.startsWith(start)))).toEqual([]);
  expect(created.length).toBeGreaterThan(15);
});
