import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dispose, tensor, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { WhetstoneError } from '../contract/errors.js';
import type { Json } from '../contract/json.js';
import type { LanguageModel, LoadedModel } from '../contract/model.js';
import type { Attachment } from '../contract/strategy.js';
import {
  checkOwnFile,
  copyCompanions,
  exists,
  fileError,
  readText,
  stopTokensNote,
  stopTokensOf,
  writeText,
} from '../files/index.js';
import { storageOf, storeBfloat16 } from '../ops/storage.js';
import { openSafetensors, openWeights, writeWeights, type TensorReader } from '../safetensors/index.js';
import { checkExported, exportedAdapter } from './attachment-contents.js';
import { assignStored } from './host-tensors.js';
import { verifyCheckpoint, writeJson } from './manifest.js';
import { loadTensors, saveTensors, tensorsToWrite } from './saved-tensors.js';

const ADAPTER_WEIGHTS_FILE = 'adapter_model.safetensors';
const ADAPTER_CONFIG_FILE = 'adapter_config.json';
/** The weights for evaluation of the best checkpoint, if they differ from the training weights. */
const EVALUATION_FILE = 'evaluation_weights.safetensors';
/** Trainable parameters that the exported files do not contain unchanged, for example those of a reparameterisation. */
const TRAINABLE_FILE = 'trainable.safetensors';

const GENERATION_FILE = 'generation_config.json';

/** Writes the weights and config.json of a model. */
export async function writeModel(
  folder: string,
  model: LanguageModel,
  dtype: 'float32' | 'bfloat16' = 'float32',
): Promise<void> {
  await writeWeights(folder, tensorsToWrite(model.parameters, dtype));
  await writeText(
    join(folder, 'config.json'),
    pythonJson({ ...model.config, ...('torch_dtype' in model.config ? { torch_dtype: dtype } : {}), dtype }),
  );
}

/**
 * Writes the adapter in PEFT's layout if the strategy exports one, otherwise the weights and config.json of the model.
 */
export async function writeTrained(folder: string, model: LanguageModel, owner: Attachment): Promise<void> {
  const adapter = exportedAdapter(owner, model);
  if (adapter === undefined) return writeModel(folder, model, owner.savedAs);
  await saveTensors(join(folder, ADAPTER_WEIGHTS_FILE), adapter.tensors, checkExported);
  await writeText(join(folder, ADAPTER_CONFIG_FILE), pythonJson(adapter.config));
  for (const [name, content] of Object.entries(adapter.files ?? {}))
    await writeText(join(folder, name), pythonJson(content));
  await writeText(join(folder, 'README.md'), adapterReadme(adapter.config, model));
}

/** Writes the trainable parameters that {@link writeTrained} does not write, and that an exact resume requires. */
export async function writeRestOfTrainable(folder: string, model: LanguageModel, owner: Attachment): Promise<void> {
  const written: ReadonlyMap<string, Tensor> = exportedAdapter(owner, model)?.tensors ?? model.parameters;
  const rest = new Map([...owner.trainable].filter(([name, variable]) => written.get(name) !== variable));
  if (rest.size > 0) await saveTensors(join(folder, TRAINABLE_FILE), rest);
}

/** Writes the weights for evaluation that differ from the training weights, if there are any. */
export async function writeEvaluationWeights(folder: string, weights: ReadonlyMap<string, Tensor>): Promise<void> {
  if (weights.size > 0) await saveTensors(join(folder, EVALUATION_FILE), weights);
}

/** The files of a checkpoint from which {@link readBest} restores the weights. */
const isWeights = (name: string): boolean =>
  /^(adapter_)?model.*\.safetensors(\.index\.json)?$/.test(name) || name === TRAINABLE_FILE || name === EVALUATION_FILE;

/**
 * Restores the best weights of a run: those with which the model of the checkpoint was evaluated.
 *
 * @throws `CHECKPOINT_INVALID` if a file with weights is missing or changed
 */
export async function readBest(folder: string, model: LanguageModel, owner: Attachment): Promise<void> {
  const files = await verifyCheckpoint(folder, isWeights);
  await readTrained(folder, model, owner);
  if (!files.has(EVALUATION_FILE)) return;
  for (const [name, value] of await loadTensors(join(folder, EVALUATION_FILE))) {
    const variable = owner.trainable.get(name);
    if (variable !== undefined) assignStored(variable, value);
    value.dispose();
  }
}

/**
 * Restores the weights of a checkpoint: all parameters if it contains the complete model, otherwise the trainable ones.
 *
 * @throws `CHECKPOINT_INVALID` if a tensor is missing or has a wrong shape
 */
export async function readTrained(folder: string, model: LanguageModel, owner: Attachment): Promise<void> {
  const restFile = join(folder, TRAINABLE_FILE);
  const rest = exists(restFile) ? await openSafetensors(restFile) : null;
  let main: TensorReader | null = null;
  try {
    main =
      owner.exportAdapter === undefined
        ? await openWeights(folder)
        : await openSafetensors(join(folder, ADAPTER_WEIGHTS_FILE));
    const parameters =
      owner.exportAdapter === undefined ? new Map([...model.parameters, ...owner.trainable]) : owner.trainable;
    for (const [name, variable] of parameters)
      await assignFrom(rest?.tensors.has(name) === true ? rest : main, name, variable);
  } finally {
    await main?.close();
    await rest?.close();
  }
}

async function assignFrom(reader: TensorReader, name: string, variable: Variable): Promise<void> {
  const place = { file: reader.fileOf(name), tensor: name };
  const entry = reader.tensors.get(name);
  if (entry === undefined)
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The checkpoint lacks a tensor.', {
      place,
      hint: 'The checkpoint was written with a different strategy or model.',
    });
  if (entry.shape.join() !== variable.shape.join()) {
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The shape of a tensor in the checkpoint is wrong.', {
      place,
      expected: `[${variable.shape.join(', ')}]`,
      found: `[${entry.shape.join(', ')}]`,
      hint: 'The checkpoint was written with a different strategy or model.',
    });
  }
  const read = tensor(await reader.readFloat32(name), variable.shape, 'float32');
  const isShort = storageOf(variable).format === 'bfloat16' && entry.dtype === 'BF16';
  const value = isShort ? storeBfloat16(read) : read;
  variable.assign(value);
  dispose([read, value]);
}

/** Writes the tokenizer files that changed because tokens were added. */
export async function writeCompanions(
  folder: string,
  { companionFiles: files = {} }: Pick<LoadedModel, 'companionFiles'>,
): Promise<void> {
  for (const [name, text] of Object.entries(files)) await writeText(join(folder, name), text);
}

/**
 * Copies the tokenizer, template and generation settings of the base model. The chat template of the run replaces those
 * of the model.
 *
 * @throws the errors of `copyCompanions`
 */
export async function copyCompanionFiles(
  folder: string,
  loaded: Pick<LoadedModel, 'model' | 'companionFiles'>,
  chatTemplatePath: string | null,
): Promise<void> {
  const { model } = loaded;
  if (model.folder !== null) await copyCompanions(model.folder, folder, { templates: chatTemplatePath === null });
  await writeCompanions(folder, loaded);
  await copyTemplate(folder, chatTemplatePath);
}

/** Names the strategy that trained an adapter, and its base model. `strategies/adapters` reads it. */
const ORIGIN_FILE = 'whetstone.json';

/** What an adapter folder records about the run that wrote it. */
export interface AdapterOrigin {
  /** The strategy; null if it does not come from a plugin of the configuration. */
  readonly strategy: Json;
  readonly base: BaseModel;
}

/** The base model of an adapter. */
interface BaseModel {
  /** The folder of the model; null for a model made in memory. */
  readonly folder: string | null;
  /** See `hashBase`; null if unknown. */
  readonly hash: string | null;
}

/** Writes which strategy trained an adapter on which base model, so that commands find the one and check the other. */
export async function writeOrigin(folder: string, { strategy, base }: AdapterOrigin): Promise<void> {
  const origin = {
    ...(strategy === null ? {} : { strategy }),
    ...(base.hash === null ? {} : { base: { folder: base.folder, sha256: base.hash } }),
  };
  if (Object.keys(origin).length > 0) await writeJson(join(folder, ORIGIN_FILE), origin);
}

/** Copies the generation settings of the base model, which list its stop tokens. */
export async function copyGenerationConfig(folder: string, { folder: base }: LanguageModel): Promise<void> {
  if (base === null || !exists(join(base, GENERATION_FILE))) return;
  await checkOwnFile(base, GENERATION_FILE);
  await writeText(join(folder, GENERATION_FILE), await readText(join(base, GENERATION_FILE)));
}

/** Writes generation_config.json if the base model does not list all stop tokens, for an adapter also into its card. */
export async function writeStopTokens(folder: string, loaded: LoadedModel, isAdapter: boolean): Promise<void> {
  const stops = await stopTokensOf(loaded);
  if (stops.added.length === 0) return;
  await writeText(join(folder, GENERATION_FILE), stops.generationConfig);
  if (isAdapter) await appendFile(join(folder, 'README.md'), stopTokensNote(stops, loaded));
}

/** Copies the chat template of the run, if it has one. */
export async function copyTemplate(folder: string, chatTemplatePath: string | null): Promise<void> {
  if (chatTemplatePath === null) return;
  const template = await readText(chatTemplatePath).catch((cause: unknown) => {
    throw fileError(cause, chatTemplatePath);
  });
  await writeText(join(folder, 'chat_template.jinja'), template);
}

/** Formats JSON like Python's `json.dumps(value, indent=2, sort_keys=True)`, which PEFT uses. */
function pythonJson(value: Json): string {
  return JSON.stringify(sorted(value), null, 2);
}

function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map((item: Json) => sorted(item));
  if (typeof value !== 'object' || value === null) return value;
  const record = value as { readonly [key: string]: Json };
  return Object.fromEntries(
    Object.keys(record)
      .toSorted()
      .map((key) => [key, sorted(record[key] ?? null)]),
  );
}

function adapterReadme(config: Json, model: LanguageModel): string {
  const base =
    typeof config === 'object' && config !== null && 'base_model_name_or_path' in config
      ? config.base_model_name_or_path
      : model.folder;
  const type =
    typeof config === 'object' && config !== null && 'peft_type' in config ? String(config.peft_type) : 'adapter';
  return (
    `---\nbase_model: ${JSON.stringify(base ?? '')}\nlibrary_name: peft\npipeline_tag: text-generation\n---\n\n` +
    '# Adapter\n\n' +
    `${type}, trained with Whetstone on a ${model.architecture} model. It loads in Whetstone ` +
    'and, if PEFT knows its type, in PEFT.\n'
  );
}
