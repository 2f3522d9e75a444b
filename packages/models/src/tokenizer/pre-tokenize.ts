import { alignmentBuilder, replaceMatches, type AlignedText } from './aligned-text.js';
import { compilePattern, type Pattern } from './patterns.js';
import type { PreTokenizerConfig } from './tokenizer-files.js';

/** Cuts or rewrites one piece. `first` says that nothing of the text stands before the section it belongs to. */
type Stage = (piece: AlignedText, first: boolean) => AlignedText[];

export interface PreTokenizer {
  /** The pieces that the model encodes one by one. */
  split(section: AlignedText, first: boolean): AlignedText[];
  /** Whether the model reads the pieces as bytes, each byte written as one printable character. */
  readonly byteLevel: boolean;
}

const GPT2_WORDS = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
const PUNCTUATION = /[\p{P}!-/:-@[-`{-~]/gu;

/**
 * Cuts a text into the pieces that never share a token, as the tokenizer's file describes it. Throws for kinds that
 * nobody knows.
 */
export function createPreTokenizer(config: PreTokenizerConfig | null): PreTokenizer {
  const parts = flatten(config);
  const stages = parts.flatMap(createStages);
  const byteLevel = parts.some((part) => part.type === 'ByteLevel');
  return {
    byteLevel,
    split(section, first) {
      let pieces = [section];
      for (const stage of stages)
        pieces =
          pieces.length === 1 && pieces[0] !== undefined
            ? stage(pieces[0], first)
            : pieces.flatMap((piece, index) => stage(piece, first && index === 0));
      return pieces;
    },
  };
}

function flatten(config: PreTokenizerConfig | null): PreTokenizerConfig[] {
  if (config === null) return [];
  return config.type === 'Sequence'
    ? (config['pretokenizers'] as readonly PreTokenizerConfig[]).flatMap(flatten)
    : [config];
}

function createStages(config: PreTokenizerConfig): Stage[] {
  const behaviour = typeof config['behavior'] === 'string' ? config['behavior'] : undefined;
  switch (config.type) {
    case 'Split':
      return [
        splitting(compilePattern(config['pattern'] as Pattern), behaviour ?? 'Isolated', config['invert'] === true),
      ];
    case 'ByteLevel': {
      const stages: Stage[] = [];
      if (config['add_prefix_space'] === true)
        stages.push((piece) => [piece.text === '' || piece.text.startsWith(' ') ? piece : prefixed(piece, ' ')]);
      if (config['use_regex'] !== false) stages.push(splitting(GPT2_WORDS, 'Isolated', false));
      return stages;
    }
    case 'Metaspace':
      return metaspace(config);
    case 'Digits':
      return [splitting(/\p{N}/gu, config['individual_digits'] === true ? 'Isolated' : 'Contiguous', false)];
    case 'Punctuation':
      return [splitting(PUNCTUATION, behaviour ?? 'Isolated', false)];
    case 'Whitespace':
      return [splitting(/[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\s]+/gu, 'Removed', true)];
    case 'WhitespaceSplit':
      return [splitting(/\s/gu, 'Removed', false)];
    case 'BertPreTokenizer':
      return [splitting(/\s/gu, 'Removed', false), splitting(PUNCTUATION, 'Isolated', false)];
    case 'FixedLength': {
      const length = Number(config['length'] ?? 5);
      return [splitting(new RegExp(`[\\s\\S]{1,${length}}`, 'gu'), 'Isolated', false)];
    }
    case 'Replace': {
      const pattern = compilePattern(config['pattern'] as Pattern);
      const content = String(config['content'] ?? '');
      return [(piece) => [replaceMatches(piece, pattern, () => content)]];
    }
    default:
      throw new Error(`pre-tokenizer of type ${JSON.stringify(config.type)} is not known`);
  }
}

function metaspace(config: PreTokenizerConfig): Stage[] {
  const replacement = typeof config['replacement'] === 'string' ? config['replacement'] : '▁';
  const scheme = config['prepend_scheme'] ?? (config['add_prefix_space'] === false ? 'never' : 'always');
  const stages: Stage[] = [
    (piece, first) => {
      const replaced = piece.text.includes(' ') ? replaceUnits(piece, ' ', replacement) : piece;
      const prepend = scheme === 'always' || (scheme === 'first' && first);
      return [
        prepend && replaced.text !== '' && !replaced.text.startsWith(replacement)
          ? prefixed(replaced, replacement)
          : replaced,
      ];
    },
  ];
  if (config['split'] !== false)
    stages.push(
      splitting(new RegExp(replacement.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'), 'gu'), 'MergedWithNext', false),
    );
  return stages;
}

/** One unit for another of the same length: the alignment stays what it was. */
function replaceUnits(piece: AlignedText, from: string, to: string): AlignedText {
  return to.length === from.length
    ? { ...piece, text: piece.text.replaceAll(from, to) }
    : replaceMatches(piece, new RegExp(from, 'g'), () => to);
}

function prefixed(piece: AlignedText, prefix: string): AlignedText {
  const builder = alignmentBuilder(piece);
  for (const character of prefix) builder.append(character, 0, 1);
  builder.append(piece.text, 0, piece.text.length);
  return builder.finish();
}

function slice(piece: AlignedText, start: number, end: number): AlignedText {
  if (start === 0 && end === piece.text.length) return piece;
  const text = piece.text.slice(start, end);
  if (piece.starts === undefined || piece.ends === undefined) return { text, base: piece.base + start };
  return { text, base: piece.base, starts: piece.starts.slice(start, end), ends: piece.ends.slice(start, end) };
}

function splitting(pattern: RegExp, behaviour: string, invert: boolean): Stage {
  return (piece) => {
    const pieces: AlignedText[] = [];
    let pendingStart = -1;
    let previousMatched = false;
    const emit = (start: number, end: number, matched: boolean): void => {
      if (end <= start) return;
      if (pendingStart >= 0 && (behaviour !== 'Contiguous' || !matched)) {
        if (behaviour === 'MergedWithNext' && !matched) start = pendingStart;
        else pieces.push(slice(piece, pendingStart, start));
        pendingStart = -1;
      }
      const last = pieces.at(-1);
      if (!matched) pieces.push(slice(piece, start, end));
      else if (behaviour === 'Isolated') pieces.push(slice(piece, start, end));
      else if (behaviour === 'MergedWithPrevious' && last !== undefined && !previousMatched)
        pieces[pieces.length - 1] = slice(piece, start - last.text.length, end);
      else if (behaviour === 'MergedWithPrevious') pieces.push(slice(piece, start, end));
      else if (behaviour === 'MergedWithNext' || (behaviour === 'Contiguous' && pendingStart < 0)) pendingStart = start;
      previousMatched = matched;
    };
    let at = 0;
    for (const match of piece.text.matchAll(pattern)) {
      emit(at, match.index, invert);
      emit(match.index, match.index + match[0].length, !invert);
      at = match.index + match[0].length;
    }
    emit(at, piece.text.length, invert);
    if (pendingStart >= 0) pieces.push(slice(piece, pendingStart, piece.text.length));
    return pieces;
  };
}
