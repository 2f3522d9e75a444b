import { copyFile, cp, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-core';
import { WhetstoneError, type Json, type LanguageModel } from '@whetstone/core/contract';
import { fileError, makeFolder, removeStale, temporaryName, writeAtomically, writeFully } from '@whetstone/core/files';
import { ADDITIONAL_TEMPLATES } from './chat-template/index.js';
import { HEAD_NAME } from './architectures/parameters.js';
import { writeWeights, type TensorToWrite, type WeightDtype } from '@whetstone/core/safetensors';

export interface SaveModelOptions {
  /** Data type of the stored weights; F32, which is lossless, by default. */
  readonly dtype?: WeightDtype;
  /**
   * Folder from which tokenizer, chat template, generation defaults and licence are copied. Default: the folder of the
   * model. Null: none.
   */
  readonly copyFrom?: string | null;
  /**
   * Tensors to write instead of the parameters with these names, such as weights merged with an adapter. A replacement
   * of `lm_head.weight` unties a tied head.
   */
  readonly replaced?: ReadonlyMap<string, Tensor>;
  /** Maximum size of a weights file; larger models are split into shards. */
  readonly maxShardBytes?: number;
  /** Contents of files to write instead of the copied ones, by name: the files of a tokenizer with added tokens. */
  readonly companionFiles?: Readonly<Record<string, string>>;
  /** Stops writing between two tensors and removes the files that were written. */
  readonly signal?: AbortSignal;
}

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

/**
 * Writes a model as a Hugging Face folder: config.json, safetensors (sharded above `maxShardBytes`), and the companion
 * files from `copyFrom`. It writes to a temporary folder, which is renamed when it is complete. Tensors are read back
 * from the device one at a time.
 *
 * @throws `OUTPUT_EXISTS` if `folder` is not empty
 * @throws `DISK_FULL` or another file error if writing fails
 * @throws `MODEL_TENSOR_UNKNOWN` if a replacement is not a parameter of the model
 * @throws `MODEL_TENSOR_SHAPE` if a replacement has a different shape
 * @throws `INTERRUPTED` if `signal` is aborted
 */
export async function saveModelFolder(
  model: LanguageModel,
  folder: string,
  options: SaveModelOptions = {},
): Promise<void> {
  const { dtype = 'F32', copyFrom = model.folder, replaced = new Map<string, Tensor>() } = options;
  await checkEmptyFolder(folder);
  const { tensors, untied } = storedTensors(model, replaced);
  const temporary = temporaryName(folder);
  try {
    await removeStale(folder);
    await makeFolder(temporary);
    const config = `${JSON.stringify(savedConfig(model.config, dtype, untied), null, 2)}\n`;
    await writeAtomically(join(temporary, 'config.json'), (handle) =>
      writeFully(handle, new TextEncoder().encode(config)),
    );
    await writeWeights(
      temporary,
      [...tensors].map(([name, tensor]): TensorToWrite => ({
        name,
        dtype,
        shape: tensor.shape,
        data: async () => {
          if (options.signal?.aborted === true)
            throw new WhetstoneError(
              'INTERRUPTED',
              'Writing the model was interrupted. The incomplete folder was removed.',
              {
                place: { file: folder },
              },
            );
          return tensor.data<'float32'>();
        },
      })),
      options.maxShardBytes === undefined ? {} : { maxShardBytes: options.maxShardBytes },
    );
    if (copyFrom !== null) await copyCompanions(copyFrom, temporary);
    for (const [name, text] of Object.entries(options.companionFiles ?? {}))
      await writeAtomically(join(temporary, name), (handle) => writeFully(handle, new TextEncoder().encode(text)));
    await rmdir(folder).catch(() => undefined); // an empty folder may exist
    await rename(temporary, folder);
  } catch (cause) {
    await rm(temporary, { recursive: true, force: true });
    throw fileError(cause, folder);
  }
}

async function checkEmptyFolder(folder: string): Promise<void> {
  const entries = await readdir(folder).catch((cause: unknown) => {
    const error = fileError(cause, folder);
    if (error.code === 'FILE_NOT_FOUND') return [];
    throw error;
  });
  if (entries.length === 0) return;
  throw new WhetstoneError('OUTPUT_EXISTS', 'The output folder is not empty.', {
    place: { file: folder },
    found: `${entries.length} files`,
    hint: 'Choose another folder, or empty this one.',
  });
}

function storedTensors(
  model: LanguageModel,
  replaced: ReadonlyMap<string, Tensor>,
): { readonly tensors: ReadonlyMap<string, Tensor>; readonly untied: boolean } {
  const tensors = new Map<string, Tensor>(model.parameters);
  const head = `${HEAD_NAME}.weight`;
  const untied = replaced.has(head) && !tensors.has(head);
  if (untied) tensors.set(head, model.embeddingSite.weight);
  for (const [name, tensor] of replaced) {
    const before = tensors.get(name);
    if (before === undefined)
      throw new WhetstoneError('MODEL_TENSOR_UNKNOWN', 'A replacement is not a parameter of the model.', {
        place: { tensor: name },
      });
    if (before.shape.join() !== tensor.shape.join()) {
      throw new WhetstoneError('MODEL_TENSOR_SHAPE', 'A replacement has a different shape from the parameter.', {
        place: { tensor: name },
        expected: `[${before.shape.join(', ')}]`,
        found: `[${tensor.shape.join(', ')}]`,
      });
    }
    tensors.set(name, tensor);
  }
  return { tensors, untied };
}

const dtypeNames: Readonly<Record<WeightDtype, string>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' };

function savedConfig(
  config: Readonly<Record<string, Json>>,
  dtype: WeightDtype,
  untied: boolean,
): Readonly<Record<string, Json>> {
  // transformers 5 writes `dtype`, earlier versions write `torch_dtype`; all versions read `torch_dtype`.
  const key = Object.hasOwn(config, 'dtype') ? 'dtype' : 'torch_dtype';
  return { ...config, [key]: dtypeNames[dtype], ...(untied ? { tie_word_embeddings: false } : {}) };
}

async function copyCompanions(from: string, to: string): Promise<void> {
  const present = new Set(
    await readdir(from).catch((cause: unknown) => {
      throw fileError(cause, from);
    }),
  );
  for (const name of companionFiles) if (present.has(name)) await copyFile(join(from, name), join(to, name));
  if (present.has(ADDITIONAL_TEMPLATES))
    await cp(join(from, ADDITIONAL_TEMPLATES), join(to, ADDITIONAL_TEMPLATES), { recursive: true });
}
