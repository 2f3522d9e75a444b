import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import { readText } from '@whetstone/core/files';
import { isRecord } from '@whetstone/core/util';
import type { SynonymDictionary } from './lexicon.js';

/** Most problems of a dictionary that are listed. */
const LISTED = 20;

/** An entry of a dictionary with its place: a line, or a key of JSON. */
interface Entry {
  readonly word: string;
  readonly synonyms: readonly string[];
  readonly line?: number;
}

interface Problem {
  readonly line?: number;
  readonly message: string;
}

/**
 * Reads a dictionary from a file: JSON `{"word": ["synonym", …]}`, or lines `word<TAB>synonym, synonym`. Empty lines
 * and lines that begin with `#` are ignored. All problems are reported together, with their lines.
 *
 * @throws `FILE_UNREADABLE` if the file cannot be read or is not a dictionary: a line without a tab, an empty word or
 *   synonym, a word that occurs twice, a synonym that equals its word, a space in a Chinese word
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
  // Spreadsheets write a byte-order mark.
  const content = text.replace(/^\uFEFF/, '');
  const problems: Problem[] = [];
  const entries = content.trimStart().startsWith('{')
    ? jsonEntries(content, file, problems)
    : lineEntries(content, problems);
  const dictionary = new Map<string, readonly string[]>();
  for (const entry of entries) {
    problems.push(...entryProblems(entry, dictionary));
    dictionary.set(entry.word, entry.synonyms);
  }
  if (problems.length > 0) throw invalidDictionary(file, problems);
  if (dictionary.size === 0)
    throw new WhetstoneError('FILE_UNREADABLE', 'The dictionary has no words.', { place: { file }, hint: FORMAT });
  return dictionary;
}

const FORMAT =
  'Write a word, a tab and its synonyms, separated by commas, on each line, or JSON: {"word": ["synonym", …]}.';

function invalidDictionary(file: string, problems: readonly Problem[]): WhetstoneError {
  const [first] = problems;
  const line = first?.line;
  return new WhetstoneError(
    'FILE_UNREADABLE',
    `The dictionary has ${problems.length === 1 ? 'a problem' : `${problems.length} problems`}.`,
    {
      place: { file, line },
      problems: problems.slice(0, LISTED).map((problem) => ({
        message: problem.message,
        place: { file, line: problem.line },
      })),
      hint: FORMAT,
    },
  );
}

function lineEntries(text: string, problems: Problem[]): Entry[] {
  const entries: Entry[] = [];
  for (const [index, row] of text.split(/\r\n|\n|\r/).entries()) {
    const line = index + 1;
    if (row.trim() === '' || row.startsWith('#')) continue;
    const [word = '', ...cells] = row.split('\t');
    if (cells.length === 0) {
      problems.push({ line, message: `${JSON.stringify(row.trim())} has no tab between the word and its synonyms` });
      continue;
    }
    if (cells.length > 1) {
      problems.push({ line, message: 'the line has more than one tab; separate synonyms by commas' });
      continue;
    }
    const synonyms = (cells[0] ?? '').split(/[,，、]/).map((synonym) => synonym.trim());
    entries.push({ word: word.trim().toLowerCase(), synonyms, line });
  }
  return entries;
}

function jsonEntries(text: string, file: string, problems: Problem[]): Entry[] {
  return Object.entries(parse(text, file)).flatMap(([word, synonyms]) => {
    if (Array.isArray(synonyms) && synonyms.every((synonym) => typeof synonym === 'string'))
      return [{ word: word.trim().toLowerCase(), synonyms: synonyms.map((synonym: string) => synonym.trim()) }];
    problems.push({ message: `the entry ${JSON.stringify(word)} is not a list of words` });
    return [];
  });
}

/** Words in Chinese characters have no spaces: a space separates two words. */
const spacedIdeographs = /\p{Script=Han}\s+\p{Script=Han}/u;

function entryProblems({ word, synonyms, line }: Entry, known: SynonymDictionary): Problem[] {
  const shown = JSON.stringify(word);
  const messages: string[] = [];
  if (word === '') messages.push('the word is empty');
  else if (known.has(word)) messages.push(`the word ${shown} occurs twice; write its synonyms on one line`);
  if (synonyms.length === 0 || synonyms.some((synonym) => synonym === ''))
    messages.push(`a synonym of ${shown} is empty`);
  if (synonyms.some((synonym) => synonym.toLowerCase() === word && word !== ''))
    messages.push(`${shown} is its own synonym`);
  if (new Set(synonyms).size < synonyms.length) messages.push(`a synonym of ${shown} occurs twice`);
  for (const spaced of [word, ...synonyms].filter((each) => spacedIdeographs.test(each)))
    messages.push(`${JSON.stringify(spaced)} has a space; separate synonyms by commas`);
  return messages.map((message) => ({ line, message }));
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
