import { library } from './library.js';
import { alignmentBuilder, mapStretches, replaceMatches, type AlignedText } from './aligned-text.js';
import { compilePattern, type Pattern } from './patterns.js';
import type { NormalizerConfig } from './tokenizer-files.js';

/** Normalises a text and aligns each character with the original. */
export type AlignedNormalizer = (source: AlignedText) => AlignedText;

/**
 * A base character with its combining marks, or the letters of one Hangul syllable: the sequences that Unicode
 * normalisation composes or decomposes.
 */
const COMPOSABLE = /[\u1100-\u115f][\u1160-\u11a7][\u11a8-\u11ff]?|\P{M}\p{M}*|\p{M}+/gu;

/** Creates the normaliser that tokenizer.json describes; null if there is none. */
export function createNormalizer(config: NormalizerConfig | null): AlignedNormalizer | null {
  if (config === null) return null;
  if (config.type === 'Sequence') {
    const steps = (config['normalizers'] as readonly NormalizerConfig[])
      .map(createNormalizer)
      .filter((step) => step !== null);
    return (source) => steps.reduce((text, step) => step(text), source);
  }
  if (config.type === 'Prepend') return prepending(String(config['prepend'] ?? ''));
  if (config.type === 'Replace') {
    const pattern = compilePattern(config['pattern'] as Pattern);
    const content = String(config['content'] ?? '');
    return (source) => replaceMatches(source, pattern, () => content);
  }
  return aligned(libraryNormalizer(config));
}

/** Creates the library's normaliser. It is wrapped in a sequence because only sequences accept a description. */
function libraryNormalizer(config: NormalizerConfig): (text: string) => string {
  const sequence = new library.SequenceNormalizer({ type: 'Sequence', normalizers: [config] });
  return (text) => sequence.normalize(text);
}

function prepending(prefix: string): AlignedNormalizer {
  return (source) => {
    if (source.text === '') return source;
    const builder = alignmentBuilder(source);
    for (const character of prefix) builder.append(character, 0, 1);
    builder.append(source.text, 0, source.text.length);
    return builder.finish();
  };
}

/** Makes a normaliser aligned: normalises composable sequences separately if that gives the same text. */
function aligned(normalize: (text: string) => string): AlignedNormalizer {
  return (source) => {
    const normalized = normalize(source.text);
    if (normalized === source.text) return source;
    const stretched = mapStretches(source, COMPOSABLE, normalize);
    return stretched.text === normalized ? stretched : alignedByEnds(source, normalized);
  };
}

/**
 * Fallback: aligns the common beginning and end one to one, and the middle with the complete middle of the original.
 */
function alignedByEnds(source: AlignedText, normalized: string): AlignedText {
  const before = source.text;
  let head = 0;
  while (head < before.length && head < normalized.length && before[head] === normalized[head]) head++;
  let tail = 0;
  while (
    tail < before.length - head &&
    tail < normalized.length - head &&
    before[before.length - 1 - tail] === normalized[normalized.length - 1 - tail]
  )
    tail++;
  const builder = alignmentBuilder(source);
  if (head > 0) builder.append(before.slice(0, head), 0, head);
  const middle = normalized.slice(head, normalized.length - tail);
  if (middle !== '') builder.append(middle, head, before.length - tail);
  if (tail > 0) builder.append(before.slice(before.length - tail), before.length - tail, before.length);
  return builder.finish();
}
