// Two conflicting tasks from one file of dialogues.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const asLine = (user, assistant) =>
  JSON.stringify({
    messages: [
      { role: 'user', content: user },
      { role: 'assistant', content: assistant },
    ],
  });

/** The first two turns of each dialogue. Repeated sentences are one sample. */
async function readExchanges(file) {
  const rows = (await readFile(file, 'utf8'))
    .trim()
    .split('\n')
    .map((text) => JSON.parse(text));
  const exchanges = rows.map(({ conversation: [user, reply], topic }) => ({
    user: user.content,
    reply: reply.content,
    topic: topic.replace('_', ' '),
  }));
  return [...new Map(exchanges.map((exchange) => [exchange.user, exchange])).values()];
}

/**
 * Task A: reply. Task B: name the topic of the same kind of sentence, in a word or two.
 *
 * @param {string} data folder of `chatterbot-en.train.jsonl` and `chatterbot-en.eval.jsonl`
 * @param {string} folder where the files of the tasks are written
 * @param {number} evaluated samples of each task to evaluate on
 */
export async function writeTasks(data, folder, evaluated) {
  const files = {};
  for (const part of ['train', 'eval']) {
    const all = await readExchanges(join(data, `chatterbot-en.${part}.jsonl`));
    const exchanges = part === 'train' ? all : all.slice(0, evaluated);
    files[part] = { a: join(folder, `reply.${part}.jsonl`), b: join(folder, `topic.${part}.jsonl`) };
    await writeFile(files[part].a, exchanges.map(({ user, reply }) => asLine(user, reply)).join('\n'));
    await writeFile(files[part].b, exchanges.map(({ user, topic }) => asLine(user, topic)).join('\n'));
  }
  return files;
}
