import { lstat, realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { WhetstoneError } from '../contract/index.js';
import { fileError } from './errors.js';
import { namesIn, unlessMissing } from './present.js';
import { checkRegular, openRegular } from './regular.js';
import { isWithin } from './within.js';
import { makeFolder, writeAtomically, writeFully } from './write.js';

/** Files of a model folder that readers use in addition to weights and config.json. */
const companionFiles = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'vocab.txt',
  'merges.txt',
  'tokenizer.model',
  'chat_template.jinja',
  'chat_template.json',
  'generation_config.json',
  'LICENSE',
  'LICENSE.txt',
  'LICENSE.md',
  'NOTICE',
];

/** The folder of a model with further templates: `tool_use.jinja` is the template `tool_use`. */
export const ADDITIONAL_TEMPLATES = 'additional_chat_templates';

/** Files of a model that hold its chat templates. */
const isTemplate = (path: string): boolean =>
  path === 'chat_template.json' || path === 'chat_template.jinja' || path.startsWith(`${ADDITIONAL_TEMPLATES}/`);

/** Which files of a model folder are copied. */
export interface CompanionChoice {
  /** Whether the templates of the model are copied; true by default. */
  readonly templates?: boolean;
}

/** Returns the paths of a model's companion files, relative to its folder. */
async function companionsOf(folder: string, { templates = true }: CompanionChoice): Promise<readonly string[]> {
  const present = await namesIn(folder);
  const found = companionFiles.filter((name) => present.includes(name));
  const further = present.includes(ADDITIONAL_TEMPLATES) ? await namesIn(join(folder, ADDITIONAL_TEMPLATES)) : [];
  const all = [
    ...found,
    ...further.filter((name) => name.endsWith('.jinja')).map((name) => `${ADDITIONAL_TEMPLATES}/${name}`),
  ];
  return all.filter((path) => templates || !isTemplate(path));
}

/**
 * Checks that a file may be copied into a folder that is published: it is a regular file of its model's folder. A link
 * within the folder, or from a snapshot to the blobs of the same model in Hugging Face's cache, is allowed.
 *
 * @throws `FILE_UNREADABLE` if it is a link to a file elsewhere, a folder, a FIFO, a socket or a device
 */
export async function checkOwnFile(folder: string, path: string): Promise<void> {
  const file = join(folder, path);
  const found = await unlessMissing(file, () => lstat(file), null);
  if (found === null) return;
  const [root, target] = await Promise.all([realpath(folder), realpath(file)]).catch((cause: unknown) => {
    throw fileError(cause, file);
  });
  const owned = [root, ...(basename(dirname(root)) === 'snapshots' ? [join(dirname(dirname(root)), 'blobs')] : [])];
  if (!owned.some((parent) => isWithin(parent, target)))
    throw new WhetstoneError('FILE_UNREADABLE', 'A file of the model is a link to a file outside of its folder.', {
      place: { file },
      expected: `a file in ${folder}`,
      found: `a link to ${target}`,
      hint: 'Its target would be copied into the result. Replace the link by the file if it belongs to the model.',
    });
  await checkRegular(file);
}

/** Checks the files that {@link copyCompanions} copies, before a long computation. Throws as {@link checkOwnFile}. */
export async function checkCompanions(folder: string, choice: CompanionChoice = {}): Promise<void> {
  for (const path of await companionsOf(folder, choice)) await checkOwnFile(folder, path);
}

/**
 * Copies tokenizer, chat templates, generation defaults and licence of a model folder.
 *
 * @throws `FILE_NOT_FOUND` if the folder does not exist
 * @throws `FILE_UNREADABLE` as {@link checkOwnFile}
 * @throws the errors of `writeAtomically`
 */
export async function copyCompanions(from: string, to: string, choice: CompanionChoice = {}): Promise<void> {
  await realpath(from).catch((cause: unknown) => {
    throw fileError(cause, from);
  });
  for (const path of await companionsOf(from, choice)) {
    await checkOwnFile(from, path);
    if (path.includes('/')) await makeFolder(join(to, dirname(path)));
    await copyRegular(join(from, path), join(to, path));
  }
}

const CHUNK_BYTES = 1 << 20;

/** Copies a file in chunks. Throws as `openRegular` and `writeAtomically`. */
async function copyRegular(from: string, to: string): Promise<void> {
  const source = await openRegular(from).catch((cause: unknown) => {
    throw fileError(cause, from);
  });
  try {
    const buffer = new Uint8Array(CHUNK_BYTES);
    await writeAtomically(to, async (handle) => {
      for (;;) {
        const { bytesRead } = await source.read(buffer, 0, buffer.byteLength, null).catch((cause: unknown) => {
          throw fileError(cause, from);
        });
        if (bytesRead === 0) return;
        await writeFully(handle, buffer.subarray(0, bytesRead));
      }
    });
  } finally {
    await source.close();
  }
}
