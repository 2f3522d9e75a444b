import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Json } from '@whetstone/core/contract';

/** Returns a model's answer to a prompt, from the cache if the prompt was asked before. */
export type Ask = (prompt: string) => Promise<string>;

/** Returns the answer to a question from the cache folder; otherwise calls `ask` and stores the answer. */
export async function answerFrom(folder: string, question: Json, ask: () => Promise<string>): Promise<string> {
  const file = path.join(folder, `${createHash('sha256').update(JSON.stringify(question)).digest('hex')}.txt`);
  const known = await readFile(file, 'utf8').catch(() => null);
  if (known !== null) return known;
  const answer = await ask();
  await mkdir(folder, { recursive: true });
  const temporary = `${file}.${randomBytes(6).toString('hex')}.partial`;
  await writeFile(temporary, answer, { flush: true });
  await rename(temporary, file);
  return answer;
}
