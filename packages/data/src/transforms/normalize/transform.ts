import { defaultsOf } from '@whetstone/core/contract';
import { mapText } from '../map-text.js';
import { changeProse } from '../protected-text.js';
import { createTransform, recipeOf, type ReportingTransform } from '../transform-log.js';
import {
  fitPunctuation,
  limitRepeatedMarks,
  narrowLetters,
  normalizeUnicode,
  removeInvisible,
  straightenQuotes,
  tidySpaces,
} from './rules.js';
import { normalizeSchema, type NormalizeOptions } from './options.js';

type Rule = readonly [kind: string, apply: (text: string) => string];

/** Returns the rules that the options enable, in the order of application. */
function rulesOf(options: NormalizeOptions): Rule[] {
  const { unicode } = options;
  const rules: (Rule | null)[] = [
    unicode === 'none' ? null : ['unicode', normalizeUnicode(unicode)],
    options.invisible ? ['invisible', removeInvisible] : null,
    options.widths ? ['widths', (text) => fitPunctuation(narrowLetters(text))] : null,
    options.quotes ? ['quotes', straightenQuotes] : null,
    options.repeatedMarks ? ['repeated-marks', limitRepeatedMarks] : null,
  ];
  return rules.filter((rule) => rule !== null);
}

/**
 * The most passes over a text. Passes are repeated until nothing changes, as the result of one rule may be input of
 * another (a removed space makes two marks adjacent). Two passes are nearly always sufficient.
 */
const MOST_PASSES = 6;

function pass(text: string, rules: readonly Rule[], spaces: boolean, onChange: (kind: string) => void): string {
  let current = text;
  for (const [kind, apply] of rules) {
    const next = changeProse(current, apply);
    if (next !== current) onChange(kind);
    current = next;
  }
  if (!spaces) return current;
  // The spaces between prose and code must be kept.
  const tidy = current.includes('`') ? current.trim() : tidySpaces(current);
  if (tidy !== current) onChange('spaces');
  return tidy;
}

/**
 * Normalizes a text: Unicode form, invisible characters, width of letters and punctuation, quotes, repeated marks,
 * spaces. Code and web addresses are not changed. Normalization is idempotent.
 *
 * @param onChange called once with each kind of change
 */
export function normalizeText(
  text: string,
  options: NormalizeOptions = defaultsOf(normalizeSchema),
  onChange: (kind: string) => void = () => {},
): string {
  const rules = rulesOf(options);
  const kinds = new Set<string>();
  let current = text;
  for (let passes = 0; passes < MOST_PASSES; passes++) {
    const next = pass(current, rules, options.spaces, (kind) => kinds.add(kind));
    if (next === current) break;
    current = next;
  }
  for (const kind of kinds) onChange(kind);
  return current;
}

/** Creates a transform that normalizes every message. */
export function createNormalizeTransform(options: Partial<NormalizeOptions> = {}): ReportingTransform {
  const all = { ...defaultsOf(normalizeSchema), ...options };
  return createTransform(
    'normalize-text',
    () => (conversation, log) => mapText(conversation, (text) => normalizeText(text, all, (kind) => log.changed(kind))),
    recipeOf('normalize-text', all, '.'),
  );
}
