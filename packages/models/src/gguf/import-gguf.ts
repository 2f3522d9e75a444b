import { createHash } from 'node:crypto';
import { readdir, type FileHandle } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { WhetstoneError, type Json } from '@whetstone/core/contract';
import {
  ADDITIONAL_TEMPLATES,
  checkWritable,
  fileError,
  makeFolder,
  openRegular,
  writeError,
  writeFolder,
  writeResultManifest,
  writeText,
} from '@whetstone/core/files';
import { bytesPerElement, writeWeights, type TensorToWrite, type WeightDtype } from '@whetstone/core/safetensors';
import { canDequantize, dequantize } from './dequantize.js';
import { checkDiskSpace } from './disk-space.js';
import type { GgufHeader, GgufTensor } from './header.js';
import { readMetadata } from './metadata.js';
import { createConfig } from './model-config.js';
import { readGgufHeader, readTensorBytes } from './read-gguf.js';
import { withTemplateStops } from './template-stops.js';
import { createTokenizerFiles, type TokenizerOutput } from './tokenizer-from-gguf.js';
import { mapWeight } from './weights.js';
import { sizeOfShape } from '@whetstone/core/util';

export type ImportDtype = 'float32' | 'float16' | 'bfloat16';

interface ImportProgress {
  readonly tensor: string;
  readonly done: number;
  readonly total: number;
}

export interface ImportOptions {
  /**
   * Data type of the stored weights. Default: float32 or float16 if all matrices in the file have that type, otherwise
   * bfloat16, which is more precise than quantised weights.
   */
  readonly dtype?: ImportDtype;
  readonly onProgress?: (progress: ImportProgress) => void;
  readonly signal?: AbortSignal;
}

export interface ImportReport {
  readonly folder: string;
  readonly architecture: string;
  readonly dtype: ImportDtype;
  readonly tensors: number;
  readonly parameters: number;
  /** Number of tensors of each GGUF type in the file. */
  readonly sourceTypes: Readonly<Record<string, number>>;
  /** Notes about the result, for people. */
  readonly notes: readonly string[];
}

const storedAs: Readonly<Record<ImportDtype, WeightDtype>> = { float32: 'F32', float16: 'F16', bfloat16: 'BF16' };

/**
 * Converts a GGUF file into a Hugging Face folder: config.json, model.safetensors, tokenizer files, chat template. Only
 * one tensor at a time is in memory. It writes to a temporary folder, which is renamed when it is complete.
 *
 * @throws `GGUF_INVALID` if the file is damaged
 * @throws `GGUF_UNSUPPORTED` if the architecture, tokenizer or a tensor type is not supported
 * @throws `OUTPUT_EXISTS` if the output folder is not empty
 * @throws `DISK_FULL` if the disk lacks space for the model
 * @throws `INTERRUPTED` if `signal` is aborted
 */
export async function importGguf(
  file: string,
  outputFolder: string,
  options: ImportOptions = {},
): Promise<ImportReport> {
  const output = resolve(outputFolder);
  await checkOutputFolder(output);
  const handle = await openRegular(file).catch((cause: unknown) => {
    throw fileError(cause, file);
  });
  try {
    const header = await readGgufHeader(handle, file);
    const plan = await planImport(handle, file, header, options.dtype);
    await checkWritable(output);
    await makeParent(output);
    await checkDiskSpace(dirname(output), plan.parameters * bytesPerElement[storedAs[plan.dtype]]);
    const tensors = plan.weights.map(({ source, target }, index): TensorToWrite => ({
      name: target.name,
      dtype: storedAs[plan.dtype],
      shape: target.shape,
      data: async () => {
        if (options.signal?.aborted === true)
          throw new WhetstoneError('INTERRUPTED', 'The import was interrupted. The incomplete folder was removed.', {
            cause: options.signal.reason,
          });
        const values = target.transform(
          dequantize(source.type.name, await readTensorBytes(handle, file, source), elementsOf(source)),
        );
        options.onProgress?.({ tensor: target.name, done: index + 1, total: plan.weights.length });
        return values;
      },
    }));
    await writeFolder(output, async (temporary) => {
      await writeWeights(temporary, tensors);
      await writeTexts(temporary, plan.config, plan.tokenizer);
      await writeResultManifest(temporary);
    });
    return {
      folder: output,
      architecture: plan.architecture,
      dtype: plan.dtype,
      tensors: plan.weights.length,
      parameters: plan.parameters,
      sourceTypes: plan.sourceTypes,
      notes: plan.notes,
    };
  } catch (cause) {
    throw fileError(cause, output);
  } finally {
    await handle.close();
  }
}

async function makeParent(folder: string): Promise<void> {
  try {
    await makeFolder(dirname(folder));
  } catch (cause) {
    throw writeError(cause, dirname(folder));
  }
}

const elementsOf = ({ shape }: GgufTensor): number => sizeOfShape(shape);

interface ImportPlan {
  readonly architecture: string;
  readonly dtype: ImportDtype;
  readonly weights: readonly {
    readonly source: GgufTensor;
    readonly target: NonNullable<ReturnType<typeof mapWeight>>;
  }[];
  readonly parameters: number;
  readonly config: Json;
  readonly tokenizer: TokenizerOutput;
  readonly sourceTypes: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

/** Reads the metadata and checks that the import is possible, before anything is written. */
async function planImport(
  handle: FileHandle,
  file: string,
  header: GgufHeader,
  requestedDtype: ImportDtype | undefined,
): Promise<ImportPlan> {
  const metadata = readMetadata(file, header);
  if ((metadata.optionalNumber('split.count') ?? 1) > 1) {
    throw new WhetstoneError('GGUF_UNSUPPORTED', 'The model is split into several files.', {
      place: { file },
      hint: 'Merge the files with `gguf-split --merge` first.',
    });
  }
  const sources = [...header.tensors.values()];
  const unreadable = sources.filter(({ type }) => !canDequantize(type.name));
  if (unreadable.length > 0) {
    throw new WhetstoneError('GGUF_UNSUPPORTED', `${unreadable.length} tensors have types that cannot be read.`, {
      place: { file },
      found: [...new Set(unreadable.map(({ type }) => type.name))].join(', '),
      hint: 'Use a file with another quantisation, such as Q8_0, Q4_K or Q6_K.',
      problems: unreadable
        .slice(0, 20)
        .map(({ name, type }) => ({ message: `stored as ${type.name}`, place: { file, tensor: name } })),
    });
  }
  const repeated = await repeatedHead(handle, file, header);
  const mapped = sources
    .filter((source) => source !== repeated)
    .map((source) => ({ source, target: mapWeight(file, metadata, source) }));
  const weights = mapped.flatMap(({ source, target }) => (target === null ? [] : [{ source, target }]));
  const factors = new Map<string, Float32Array>();
  for (const { source, target } of mapped)
    if (target === null)
      factors.set(
        source.name,
        dequantize(source.type.name, await readTensorBytes(handle, file, source), elementsOf(source)),
      );
  const sourceTypes: Record<string, number> = {};
  for (const { type } of sources) sourceTypes[type.name] = (sourceTypes[type.name] ?? 0) + 1;
  const dtype = requestedDtype ?? defaultDtype(sources);
  const tiesHead = repeated !== null || !header.tensors.has('output.weight');
  const config = createConfig({ file, header, metadata, factors, dtype, tiesHead });
  const tokenizer = withTemplateStops(createTokenizerFiles(file, metadata));
  return {
    architecture: String(config['model_type']),
    dtype,
    weights,
    sourceTypes,
    config,
    tokenizer,
    parameters: weights.reduce((sum, { source }) => sum + elementsOf(source), 0),
    notes: notesOn(config, tokenizer, sourceTypes, dtype),
  };
}

/** Returns the tensor of the head if it repeats that of the embedding, as files of tied models may; null otherwise. */
async function repeatedHead(handle: FileHandle, file: string, { tensors }: GgufHeader): Promise<GgufTensor | null> {
  const [head, embedding] = [tensors.get('output.weight'), tensors.get('token_embd.weight')];
  if (head === undefined || embedding === undefined) return null;
  if (head.type.name !== embedding.type.name || head.shape.join() !== embedding.shape.join()) return null;
  // One after the other, so that only one tensor is in memory.
  const hashOf = async (tensor: GgufTensor): Promise<string> =>
    createHash('sha256')
      .update(await readTensorBytes(handle, file, tensor))
      .digest('hex');
  return (await hashOf(head)) === (await hashOf(embedding)) ? head : null;
}

function defaultDtype(sources: readonly GgufTensor[]): ImportDtype {
  const matrices = sources.filter(({ shape }) => shape.length > 1);
  if (matrices.every(({ type }) => type.name === 'F32')) return 'float32';
  return matrices.every(({ type }) => type.name === 'F16' || type.name === 'F32') ? 'float16' : 'bfloat16';
}

function notesOn(
  config: Record<string, Json>,
  tokenizer: TokenizerOutput,
  sourceTypes: Readonly<Record<string, number>>,
  dtype: ImportDtype,
): string[] {
  const notes: string[] = [];
  const quantised = Object.keys(sourceTypes).filter((type) => !['F32', 'F16', 'BF16'].includes(type));
  if (quantised.length > 0)
    notes.push(
      `The weights were quantised (${quantised.join(', ')}) and are stored as ${dtype}. This does not restore the ` +
        'precision that quantisation lost.',
    );
  if (config['pad_token_id'] !== undefined && config['pad_token_id'] === config['eos_token_id'])
    notes.push(
      'The padding token is also the end of a turn. Padding is recognised by position, so that training still ' +
        'learns to stop.',
    );
  if (tokenizer.chatTemplate === null)
    notes.push('The file does not contain a chat template. Set chatTemplatePath to use one.');
  return notes;
}

async function writeTexts(folder: string, config: Json, tokenizer: TokenizerOutput): Promise<void> {
  const json = (value: Json): string => `${JSON.stringify(value, null, 2)}\n`;
  await writeText(join(folder, 'config.json'), json(config));
  await writeText(join(folder, 'tokenizer.json'), json(tokenizer.tokenizer));
  await writeText(join(folder, 'tokenizer_config.json'), json(tokenizer.tokenizerConfig));
  await writeText(join(folder, 'special_tokens_map.json'), json(tokenizer.specialTokensMap));
  await writeText(join(folder, 'generation_config.json'), json(tokenizer.generationConfig));
  if (tokenizer.chatTemplate !== null) await writeText(join(folder, 'chat_template.jinja'), tokenizer.chatTemplate);
  if (tokenizer.namedTemplates.size === 0) return;
  await makeFolder(join(folder, ADDITIONAL_TEMPLATES));
  for (const [name, template] of tokenizer.namedTemplates)
    await writeText(join(folder, ADDITIONAL_TEMPLATES, `${name}.jinja`), template);
}

async function checkOutputFolder(folder: string): Promise<void> {
  const entries = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return [];
    if (cause.code !== 'ENOTDIR') throw fileError(cause, folder);
    throw new WhetstoneError('OUTPUT_EXISTS', 'The output path exists and is not a folder.', {
      place: { file: folder },
      cause,
    });
  });
  if (entries.length > 0)
    throw new WhetstoneError('OUTPUT_EXISTS', 'The output folder is not empty.', {
      place: { file: folder },
      found: entries.slice(0, 5).join(', '),
      hint: 'Choose another folder, or empty this one.',
    });
}
