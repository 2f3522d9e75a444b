import { alignmentBuilder, replaceMatches, type AlignedText } from './aligned-text.js';
import { compilePattern, searchFor, type FindMatches, type Pattern } from './patterns.js';
import type { PreTokenizerConfig } from './tokenizer-files.js';

/** Splits or rewrites one pre-token. `first` is true at the beginning of the text. */
type SplitStep = (preToken: AlignedText, first: boolean) => AlignedText[];

export interface PreTokenizer {
  /** Splits a section into the pre-tokens that the model encodes one by one. */
  split(section: AlignedText, first: boolean): AlignedText[];
  /** Whether the model reads the pre-tokens as bytes, each written as one printable character. */
  readonly byteLevel: boolean;
}

const GPT2_WORDS = searchFor(/'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu);
const PUNCTUATION = searchFor(/[\p{P}!-/:-@[-`{-~]/gu);
const WORDS_AND_SIGNS = searchFor(/[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\s]+/gu);
const SPACE = searchFor(/\s/gu);

/**
 * Creates the pre-tokenizer that tokenizer.json describes. No token spans two pre-tokens. Throws an error if the type
 * is unknown.
 */
export function createPreTokenizer(config: PreTokenizerConfig | null): PreTokenizer {
  const configs = flatten(config);
  const steps = configs.flatMap(createSteps);
  const byteLevel = configs.some(({ type }) => type === 'ByteLevel');
  return {
    byteLevel,
    split(section, first) {
      let preTokens = [section];
      for (const step of steps)
        preTokens =
          preTokens.length === 1 && preTokens[0] !== undefined
            ? step(preTokens[0], first)
            : preTokens.flatMap((preToken, index) => step(preToken, first && index === 0));
      return preTokens;
    },
  };
}

function flatten(config: PreTokenizerConfig | null): PreTokenizerConfig[] {
  if (config === null) return [];
  return config.type === 'Sequence'
    ? (config['pretokenizers'] as readonly PreTokenizerConfig[]).flatMap(flatten)
    : [config];
}

function createSteps(config: PreTokenizerConfig): SplitStep[] {
  const behaviour = typeof config['behavior'] === 'string' ? config['behavior'] : undefined;
  switch (config.type) {
    case 'Split':
      return [
        splitting(compilePattern(config['pattern'] as Pattern), behaviour ?? 'Isolated', config['invert'] === true),
      ];
    case 'ByteLevel': {
      const steps: SplitStep[] = [];
      if (config['add_prefix_space'] === true)
        steps.push((preToken) => [
          preToken.text === '' || preToken.text.startsWith(' ') ? preToken : prefixed(preToken, ' '),
        ]);
      if (config['use_regex'] !== false) steps.push(splitting(GPT2_WORDS, 'Isolated', false));
      return steps;
    }
    case 'Metaspace':
      return metaspace(config);
    case 'Digits':
      return [splitting(searchFor(/\p{N}/gu), config['individual_digits'] === true ? 'Isolated' : 'Contiguous', false)];
    case 'Punctuation':
      return [splitting(PUNCTUATION, behaviour ?? 'Isolated', false)];
    case 'Whitespace':
      return [splitting(WORDS_AND_SIGNS, 'Removed', true)];
    case 'WhitespaceSplit':
      return [splitting(SPACE, 'Removed', false)];
    case 'BertPreTokenizer':
      return [splitting(SPACE, 'Removed', false), splitting(PUNCTUATION, 'Isolated', false)];
    case 'FixedLength': {
      const length = Number(config['length'] ?? 5);
      return [splitting(searchFor(new RegExp(`[\\s\\S]{1,${length}}`, 'gu')), 'Isolated', false)];
    }
    case 'Replace': {
      const pattern = compilePattern(config['pattern'] as Pattern);
      const content = String(config['content'] ?? '');
      return [(preToken) => [replaceMatches(preToken, pattern, () => content)]];
    }
    default:
      throw new Error(`the pre-tokenizer type ${JSON.stringify(config.type)} is unknown`);
  }
}

function metaspace(config: PreTokenizerConfig): SplitStep[] {
  const replacement = typeof config['replacement'] === 'string' ? config['replacement'] : '▁';
  const scheme = config['prepend_scheme'] ?? (config['add_prefix_space'] === false ? 'never' : 'always');
  const steps: SplitStep[] = [
    (preToken, first) => {
      const replaced = preToken.text.includes(' ') ? replaceUnits(preToken, ' ', replacement) : preToken;
      const prepend = scheme === 'always' || (scheme === 'first' && first);
      return [
        prepend && replaced.text !== '' && !replaced.text.startsWith(replacement)
          ? prefixed(replaced, replacement)
          : replaced,
      ];
    },
  ];
  if (config['split'] !== false) steps.push(splitting(searchFor(literal(replacement)), 'MergedWithNext', false));
  return steps;
}

/** Returns a regular expression that matches a text. */
const literal = (text: string): RegExp => new RegExp(text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'), 'gu');

/** Replaces `from` by `to`. With equal lengths, the alignment does not change. */
function replaceUnits(preToken: AlignedText, from: string, to: string): AlignedText {
  return to.length === from.length
    ? { ...preToken, text: preToken.text.replaceAll(from, to) }
    : replaceMatches(preToken, searchFor(literal(from)), () => to);
}

function prefixed(preToken: AlignedText, prefix: string): AlignedText {
  const builder = alignmentBuilder(preToken);
  for (const character of prefix) builder.append(character, 0, 1);
  builder.append(preToken.text, 0, preToken.text.length);
  return builder.finish();
}

function slice(preToken: AlignedText, start: number, end: number): AlignedText {
  if (start === 0 && end === preToken.text.length) return preToken;
  const text = preToken.text.slice(start, end);
  if (preToken.starts === undefined || preToken.ends === undefined) return { text, base: preToken.base + start };
  return {
    text,
    base: preToken.base,
    starts: preToken.starts.slice(start, end),
    ends: preToken.ends.slice(start, end),
  };
}

/** Creates a step that splits at the matches of a search; `behaviour` is the `behavior` of Hugging Face's `Split`. */
function splitting(search: FindMatches, behaviour: string, invert: boolean): SplitStep {
  return (preToken) => {
    const preTokens: AlignedText[] = [];
    let pendingStart = -1;
    let previousMatched = false;
    const emit = (start: number, end: number, matched: boolean): void => {
      if (end <= start) return;
      if (pendingStart >= 0 && (behaviour !== 'Contiguous' || !matched)) {
        if (behaviour === 'MergedWithNext' && !matched) start = pendingStart;
        else preTokens.push(slice(preToken, pendingStart, start));
        pendingStart = -1;
      }
      const last = preTokens.at(-1);
      if (!matched) preTokens.push(slice(preToken, start, end));
      else if (behaviour === 'Isolated') preTokens.push(slice(preToken, start, end));
      else if (behaviour === 'MergedWithPrevious' && last !== undefined && !previousMatched)
        preTokens[preTokens.length - 1] = slice(preToken, start - last.text.length, end);
      else if (behaviour === 'MergedWithPrevious') preTokens.push(slice(preToken, start, end));
      else if (behaviour === 'MergedWithNext' || (behaviour === 'Contiguous' && pendingStart < 0)) pendingStart = start;
      previousMatched = matched;
    };
    let at = 0;
    for (const match of search(preToken.text)) {
      emit(at, match.index, invert);
      emit(match.index, match.index + match[0].length, !invert);
      at = match.index + match[0].length;
    }
    emit(at, preToken.text.length, invert);
    if (pendingStart >= 0) preTokens.push(slice(preToken, pendingStart, preToken.text.length));
    return preTokens;
  };
}
