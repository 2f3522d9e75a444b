import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-core';
import { WhetstoneError, type Json, type LanguageModel } from '@whetstone/core/contract';
import {
  checkCompanions,
  checkWritable,
  copyCompanions,
  namesIn,
  writeFolder,
  writeResultManifest,
  writeText,
} from '@whetstone/core/files';
import { HEAD_NAME } from './architectures/parameters.js';
import { writeWeights, type TensorToWrite, type WeightDtype } from '@whetstone/core/safetensors';
import { counted } from '@whetstone/core/util';

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
  await writeFolder(folder, async (temporary) => {
    const config = savedConfig(model.config, dtype, untied);
    await writeText(join(temporary, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
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
      await writeText(join(temporary, name), text);
    await writeResultManifest(temporary);
  });
}

/**
 * Checks before a long computation that {@link saveModelFolder} can write to a folder, and copy the files of a model.
 *
 * @throws `OUTPUT_EXISTS` if `folder` is not empty
 * @throws `FILE_UNWRITABLE` if nothing can be written there
 * @throws `FILE_UNREADABLE` if a file of the model is a link to a file elsewhere, or is not a regular file
 */
export async function checkSaving(folder: string, copyFrom: string): Promise<void> {
  await checkEmptyFolder(folder);
  await checkWritable(folder);
  await checkCompanions(copyFrom);
}

async function checkEmptyFolder(folder: string): Promise<void> {
  const entries = await namesIn(folder);
  if (entries.length === 0) return;
  throw new WhetstoneError('OUTPUT_EXISTS', 'The output folder is not empty.', {
    place: { file: folder },
    found: counted(entries.length, 'file'),
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
