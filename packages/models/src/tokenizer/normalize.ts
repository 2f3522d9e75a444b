import { library } from './library.js';
import { alignmentBuilder, mapStretches, replaceMatches, type AlignedText } from './aligned-text.js';
import { compilePattern, type Pattern } from './patterns.js';
import type { NormalizerConfig } from './tokenizer-files.js';

/** One step of normalisation that knows where each character came from. */
export type AlignedNormalizer = (source: AlignedText) => AlignedText;

/**
 * A base character with its marks, or a Hangul syllable in its letters: what Unicode normalisation may join or take
 * apart, and nothing more.
 */
const COMPOSABLE = /[\u1100-\u115f][\u1160-\u11a7][\u11a8-\u11ff]?|\P{M}\p{M}*|\p{M}+/gu;

/**
 * A normaliser as the tokenizer's file describes it, the library's own but aligned; null where the text stays as it is.
 */
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

/**
 * The library's normaliser of any kind: a sequence of one, since only sequences build their parts from a description.
 */
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

function aligned(normalize: (text: string) => string): AlignedNormalizer {
  return (source) => {
    const whole = normalize(source.text);
    if (whole === source.text) return source;
    const stretched = mapStretches(source, COMPOSABLE, normalize);
    return stretched.text === whole ? stretched : alignedByEnds(source, whole);
  };
}

/** Last resort: what both texts begin and end with is aligned one to one, the middle as a whole. */
function alignedByEnds(source: AlignedText, whole: string): AlignedText {
  const before = source.text;
  let head = 0;
  while (head < before.length && head < whole.length && before[head] === whole[head]) head++;
  let tail = 0;
  while (
    tail < before.length - head &&
    tail < whole.length - head &&
    before[before.length - 1 - tail] === whole[whole.length - 1 - tail]
  )
    tail++;
  const builder = alignmentBuilder(source);
  if (head > 0) builder.append(before.slice(0, head), 0, head);
  const middle = whole.slice(head, whole.length - tail);
  if (middle !== '') builder.append(middle, head, before.length - tail);
  if (tail > 0) builder.append(before.slice(before.length - tail), before.length - tail, before.length);
  return builder.finish();
}
