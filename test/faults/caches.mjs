// The caches of the packages, each as a function that computes a result with a folder. Tests run them in their own
// process and, as a program, in others: `node caches.mjs NAME FOLDER [forever]`, with the built packages.
import { rmSync } from 'node:fs';
import { argv, execPath, stdout } from 'node:process';
import { fileURLToPath } from 'node:url';

/** @param {any} parts The functions of the packages: from their sources, or as they are built. */
export const cachesOf = (parts) => {
  const { openModuleCache, answerFrom, createBatchSource, characterTokenizer, plainRenderer, chat, sourceOf } = parts;
  return {
    /** @param {string} folder @returns {Promise<unknown>} */
    tokens: async (folder) => {
      const source = sourceOf([chat('question', 'answer'), chat('another', 'reply')]);
      const tokenizer = { ...characterTokenizer, hash: 'characters' };
      const options = { source, tokenizer, renderer: plainRenderer, options: {}, cacheFolder: folder };
      const batches = [];
      for await (const batch of (await createBatchSource(options)).epoch(0)) batches.push([...batch.ids]);
      return batches;
    },
    /** @param {string} folder @returns {Promise<unknown>} */
    'tokens in a file': async (folder) => {
      const source = sourceOf([chat('question', 'answer'), chat('another', 'reply'), chat('third', 'other')]);
      const tokenizer = { ...characterTokenizer, hash: 'characters' };
      const inputs = { source, tokenizer, renderer: plainRenderer, options: { batchSize: 1 }, cacheFolder: folder };
      const batches = [];
      const batchSource = await createBatchSource({ ...inputs, memoryTokens: 0 });
      for await (const batch of batchSource.epoch(0)) batches.push([...batch.ids]);
      return batches;
    },
    /** @param {string} folder @returns {Promise<unknown>} */
    'compiled modules': async (folder) => {
      const plugin = { path: execPath, version: '1', device: 'cpu' };
      const cache = openModuleCache(folder, plugin, { warn: () => undefined });
      const key = cache.keyOf('a module');
      const found = cache.load(key);
      const compiled = Uint8Array.from({ length: 100 }, (_, index) => index);
      if (found === null) cache.save(key, compiled);
      return [...(found ?? compiled)];
    },
    /** @param {string} folder @returns {Promise<unknown>} */
    answers: async (folder) => answerFrom(folder, { prompt: 'a question' }, async () => 'an answer\nof two lines'),
  };
};

/** Runs one of the caches of the built packages, once or until the process is killed. */
async function main() {
  const [name = '', folder = '', forever] = argv.slice(2);
  /** @param {string} file @returns {Promise<any>} */
  const built = (file) => import(new URL(`../../packages/${file}`, import.meta.url).href);
  const caches = cachesOf({
    ...(await built('backend/dist/engines/xla/module-cache.js')),
    ...(await built('data/dist/augment/answer-cache.js')),
    ...(await built('data/dist/batching/batch-source.js')),
    ...(await built('data/dist/testing/fakes.js')),
    ...(await built('data/dist/testing/sources.js')),
  });
  const cached = Object.entries(caches).find(([each]) => each === name)?.[1];
  const use = async () => stdout.write(`${JSON.stringify(await cached?.(folder))}\n`);
  await use();
  if (forever === undefined) return;
  for (;;) {
    rmSync(folder, { recursive: true, force: true });
    await use();
  }
}

if (argv[1] === fileURLToPath(import.meta.url)) await main();
