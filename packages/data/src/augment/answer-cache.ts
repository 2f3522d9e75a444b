import { createHash } from 'node:crypto';
import path from 'node:path';
import type { Json } from '@whetstone/core/contract';
import { isFile, makeFolder, readTextIfPresent, remove, writeText } from '@whetstone/core/files';
import { messageOf } from '@whetstone/core/util';

/** Returns a model's answer to a prompt, from the cache if the prompt was asked before. */
export type Ask = (prompt: string) => Promise<string>;

/** A model that answers prompts. What it needs for that is opened with the first prompt that is not in the cache. */
export interface AnsweringModel {
  readonly ask: Ask;
  /** Ends all requests and disposes of what was opened; the next prompt opens it again. */
  close(): void;
}

const hashOf = (...texts: readonly string[]): string => createHash('sha256').update(texts.join('\0')).digest('hex');

/** What was reported already, so that a folder that cannot be used is reported once. */
const reported = new Set<string>();

function reportOnce(folder: string, what: string, reason: string): void {
  const key = `${folder}\0${what}`;
  if (reported.has(key)) return;
  reported.add(key);
  process.emitWarning(`${what} in ${folder}: ${reason}`);
}

/** The questions that are being answered, by the file of the answer. */
const pending = new Map<string, Promise<string>>();

/**
 * Returns the answer to a question from the cache folder; otherwise calls `ask` and stores the answer. A file holds the
 * hash of question and answer, then the answer. One that is damaged, or a folder that cannot be used, costs a request.
 * A question that is asked again before it is answered waits for the same answer.
 */
export function answerFrom(folder: string, question: Json, ask: () => Promise<string>): Promise<string> {
  const key = hashOf(JSON.stringify(question));
  const file = path.join(folder, `${key}.txt`);
  const known = pending.get(file);
  if (known !== undefined) return known;
  const answer = findAnswer(folder, file, key, ask).finally(() => pending.delete(file));
  pending.set(file, answer);
  return answer;
}

async function findAnswer(folder: string, file: string, key: string, ask: () => Promise<string>): Promise<string> {
  const known = await readAnswer(folder, file, key);
  if (known !== null) return known;
  const answer = await ask();
  try {
    await makeFolder(folder);
    // A folder in the place of the file would stay.
    if (!(await isFile(file))) await remove(file);
    await writeText(file, `${hashOf(key, answer)}\n${answer}`);
  } catch (error) {
    reportOnce(folder, 'Answers of the model cannot be stored', messageOf(error));
  }
  return answer;
}

/** Returns a stored answer; null if there is none, or if it is damaged. */
async function readAnswer(folder: string, file: string, key: string): Promise<string | null> {
  let text: string | null;
  try {
    text = await readTextIfPresent(file);
  } catch (error) {
    reportOnce(folder, 'A stored answer of the model cannot be read, and is requested again', messageOf(error));
    return null;
  }
  if (text === null) return null;
  const end = text.indexOf('\n');
  const answer = text.slice(end + 1);
  if (text.slice(0, end) === hashOf(key, answer)) return answer;
  reportOnce(folder, 'A stored answer of the model is damaged, and is requested again', path.basename(file));
  return null;
}
