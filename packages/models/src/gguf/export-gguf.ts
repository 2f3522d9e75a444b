import { basename, dirname, resolve } from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';
import { checkWritableFile, exists } from '@whetstone/core/files';
import { ownValue, sizeOfShape } from '@whetstone/core/util';
import { architectures } from '../architectures/index.js';
import { loadRenderer } from '../chat-template/index.js';
import { readTemplates } from '../chat-template/template-files.js';
import { openModelFiles, type ModelFiles } from '../model-files.js';
import { createTokenizer, readTokenizerFiles } from '../tokenizer/index.js';
import { checkDiskSpace } from './disk-space.js';
import { ggufArchitectures, modelMetadata, ropeFactors, type DescribedModel } from './export-metadata.js';
import { tokenizerMetadata } from './export-tokenizer.js';
import { fileTypes, isQuantized, typeOfWeight, type ExportType } from './export-types.js';
import { quantize } from './quantize.js';
import { exportWeight } from './weights.js';
import { tensorBytes, writeGguf, type GgufTensorToWrite, type TypedValue } from './write-gguf.js';

interface ExportProgress {
  /** The tensor that was written last. */
  readonly tensor: string;
  readonly done: number;
  readonly total: number;
}

export interface ExportOptions {
  readonly type: ExportType;
  readonly onProgress?: (progress: ExportProgress) => void;
  /** Receives messages about what was read differently from how it is written. */
  readonly onNotice?: (message: string) => void;
  /** Stops between two tensors; nothing is left. */
  readonly signal?: AbortSignal;
}

export interface ExportReport {
  readonly file: string;
  /** The name of the architecture in GGUF. */
  readonly architecture: string;
  readonly type: ExportType;
  readonly parameters: number;
  /** The size of the file's tensors, in bytes. */
  readonly bytes: number;
  /** Number of tensors of each type of ggml. */
  readonly types: Readonly<Record<string, number>>;
}

/**
 * Writes a model folder as a GGUF file, which llama.cpp reads: weights, tokenizer, chat templates. Only one tensor at a
 * time is in memory. The file appears when it is complete.
 *
 * @throws `OUTPUT_EXISTS` if the file exists
 * @throws `GGUF_UNSUPPORTED` if GGUF cannot describe the architecture, its rotary scaling or the tokenizer
 * @throws `DISK_FULL` if the disk lacks space
 * @throws `INTERRUPTED` if `signal` is aborted
 * @throws the errors of `loadLanguageModel` for a folder that is not a model
 */
export async function exportGguf(folder: string, path: string, options: ExportOptions): Promise<ExportReport> {
  const { type } = options;
  const file = resolve(path);
  if (exists(file))
    throw new WhetstoneError('OUTPUT_EXISTS', 'The output file exists.', {
      place: { file },
      hint: 'Choose another file, or delete this one.',
    });
  await checkWritableFile(file);
  const model = await openModelFiles(folder, architectures, options.onNotice ?? (() => undefined));
  try {
    const described = { folder, shape: model.shape, config: model.config };
    const architecture = architectureOf(described);
    const metadata = new Map([
      ...generalMetadata(architecture, folder, type),
      ...modelMetadata(architecture, described),
      ...(await textMetadata(described)),
    ]);
    const tensors = tensorsOf(architecture, described, model, type);
    const bytes = tensorBytes(tensors);
    await checkDiskSpace(dirname(file), bytes);
    await writeGguf(file, metadata, withProgress(tensors, options));
    return {
      file,
      architecture,
      type,
      parameters: tensors.reduce((sum, { shape }) => sum + sizeOfShape(shape), 0),
      bytes,
      types: countTypes(tensors),
    };
  } finally {
    await model.reader.close();
  }
}

function architectureOf({ folder, shape }: DescribedModel): string {
  const architecture = ownValue(ggufArchitectures, shape.architecture);
  if (architecture !== undefined) return architecture;
  throw new WhetstoneError('GGUF_UNSUPPORTED', 'The architecture of the model cannot be exported to GGUF.', {
    place: { file: `${folder}/config.json`, path: 'model_type' },
    expected: `one of ${Object.keys(ggufArchitectures).join(', ')}`,
    found: shape.architecture,
  });
}

/** The version of the quantised types. */
const QUANTIZATION_VERSION = 2;

function generalMetadata(architecture: string, folder: string, type: ExportType): [string, TypedValue][] {
  return [
    ['general.architecture', { type: 'string', value: architecture }],
    ['general.type', { type: 'string', value: 'model' }],
    ['general.name', { type: 'string', value: basename(resolve(folder)) }],
    ['general.file_type', { type: 'uint32', value: fileTypes[type] }],
    ...(isQuantized(type)
      ? [['general.quantization_version', { type: 'uint32', value: QUANTIZATION_VERSION }] as [string, TypedValue]]
      : []),
  ];
}

/** Returns the metadata of tokenizer and chat templates. */
async function textMetadata({ folder, shape }: DescribedModel): Promise<ReadonlyMap<string, TypedValue>> {
  const files = await readTokenizerFiles(folder);
  const tokenizer = createTokenizer(files);
  const templates = (await readTemplates(folder, files.config))?.templates ?? new Map<string, string>();
  const stops = templates.size === 0 ? [] : (await loadRenderer(folder, tokenizer)).stopTokenIds;
  const turnEnd = stops.find((id) => id !== tokenizer.eosTokenId) ?? null;
  const metadata = new Map(tokenizerMetadata(files, shape.vocabularySize, { turnEnd }));
  for (const [name, value] of templates)
    metadata.set(`tokenizer.chat_template${name === 'default' ? '' : `.${name}`}`, { type: 'string', value });
  return metadata;
}

function tensorsOf(
  architecture: string,
  described: DescribedModel,
  { shape, reader, stored }: ModelFiles,
  type: ExportType,
): readonly GgufTensorToWrite[] {
  const heads = { query: shape.heads, keyValue: shape.keyValueHeads };
  const model = { layers: shape.layers.length, tiedHead: shape.tiedHead };
  const factors = [...ropeFactors(described)].map(([name, values]): GgufTensorToWrite => ({
    name,
    shape: [values.length],
    type: 'F32',
    data: async () => quantize('F32', values),
  }));
  const weights = [...stored].map(([name, storedName]): GgufTensorToWrite => {
    const source = reader.tensors.get(storedName);
    const target = source === undefined ? null : exportWeight(architecture, { name, shape: source.shape }, heads);
    if (target === null)
      throw new WhetstoneError('GGUF_UNSUPPORTED', 'GGUF has no name for a tensor of the model.', {
        place: { file: described.folder, tensor: name },
      });
    const storage = typeOfWeight(type, target, model);
    return {
      name: target.name,
      shape: target.shape,
      type: storage,
      data: async () => quantize(storage, target.transform(await reader.readFloat32(storedName))),
    };
  });
  return [...factors, ...weights];
}

function withProgress(
  tensors: readonly GgufTensorToWrite[],
  { signal, onProgress }: ExportOptions,
): readonly GgufTensorToWrite[] {
  return tensors.map((tensor, index) => ({
    ...tensor,
    data: async () => {
      if (signal?.aborted === true)
        throw new WhetstoneError('INTERRUPTED', 'The export was interrupted; nothing was written.', {
          cause: signal.reason,
        });
      const bytes = await tensor.data();
      onProgress?.({ tensor: tensor.name, done: index + 1, total: tensors.length });
      return bytes;
    },
  }));
}

function countTypes(tensors: readonly GgufTensorToWrite[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { type } of tensors) counts[type] = (counts[type] ?? 0) + 1;
  return counts;
}
