import { createHash } from 'node:crypto';
import path from 'node:path';
import type { Json } from '@whetstone/core/contract';
import { makeFolder, readTextIfPresent, writeError, writeText } from '@whetstone/core/files';

/** Returns a model's answer to a prompt, from the cache if the prompt was asked before. */
export type Ask = (prompt: string) => Promise<string>;

/** Returns the answer to a question from the cache folder; otherwise calls `ask` and stores the answer. */
export async function answerFrom(folder: string, question: Json, ask: () => Promise<string>): Promise<string> {
  const file = path.join(folder, `${createHash('sha256').update(JSON.stringify(question)).digest('hex')}.txt`);
  const known = await readTextIfPresent(file);
  if (known !== null) return known;
  const answer = await ask();
  await makeFolder(folder).catch((cause: unknown) => {
    throw writeError(cause, folder);
  });
  await writeText(file, answer);
  return answer;
}
