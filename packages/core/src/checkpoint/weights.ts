import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dispose, tensor, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { WhetstoneError } from '../contract/errors.js';
import type { Json } from '../contract/json.js';
import type { LanguageModel, LoadedModel } from '../contract/model.js';
import type { Attachment } from '../contract/strategy.js';
import { writeAtomically, writeFully } from '../files/index.js';
import { storageOf, storeBfloat16 } from '../ops/storage.js';
import { openSafetensors, openWeights, writeWeights, type TensorReader } from '../safetensors/index.js';
import { saveTensors, tensorsToWrite } from './saved-tensors.js';

const ADAPTER_WEIGHTS_FILE = 'adapter_model.safetensors';
const ADAPTER_CONFIG_FILE = 'adapter_config.json';
/**
 * Trained parameters that the exported files do not hold as they are (a reparameterisation, an initialisation taken
 * off).
 */
const TRAINABLE_FILE = 'trainable.safetensors';

/** Files beside the weights that make a model folder usable; those that the base model has are copied. */
const companionFiles = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'tokenizer.model',
  'chat_template.jinja',
  'generation_config.json',
];

/** Writes the whole model: weights and config.json. */
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
 * Writes what was trained: an adapter in PEFT's layout where the strategy exports one, else the whole model's weights
 * and config.json.
 */
export async function writeTrained(folder: string, model: LanguageModel, owner: Attachment): Promise<void> {
  const adapter = owner.exportAdapter?.();
  if (adapter === undefined) return writeModel(folder, model, owner.savedAs);
  await saveTensors(join(folder, ADAPTER_WEIGHTS_FILE), adapter.tensors);
  await writeText(join(folder, ADAPTER_CONFIG_FILE), pythonJson(adapter.config));
  for (const [name, content] of Object.entries(adapter.files ?? {}))
    await writeText(join(folder, name), pythonJson(content));
  await writeText(join(folder, 'README.md'), adapterReadme(adapter.config, model));
}

/** Writes the trained parameters that {@link writeTrained} left out: what an exact resume needs besides. */
export async function writeRestOfTrainable(folder: string, model: LanguageModel, owner: Attachment): Promise<void> {
  const written: ReadonlyMap<string, Tensor> = owner.exportAdapter?.().tensors ?? model.parameters;
  const rest = new Map([...owner.trainable].filter(([name, variable]) => written.get(name) !== variable));
  if (rest.size > 0) await saveTensors(join(folder, TRAINABLE_FILE), rest);
}

/**
 * Puts the weights of a checkpoint back into the model: all parameters where it holds the whole model, else what the
 * strategy trains.
 *
 * @throws `CHECKPOINT_INVALID` naming a tensor that is missing or misshapen.
 */
export async function readTrained(folder: string, model: LanguageModel, owner: Attachment): Promise<void> {
  const rest = await openSafetensors(join(folder, TRAINABLE_FILE)).catch(() => null);
  const main =
    owner.exportAdapter === undefined
      ? await openWeights(folder)
      : await openSafetensors(join(folder, ADAPTER_WEIGHTS_FILE));
  try {
    const wanted =
      owner.exportAdapter === undefined ? new Map([...model.parameters, ...owner.trainable]) : owner.trainable;
    for (const [name, variable] of wanted)
      await assignFrom(rest?.tensors.has(name) === true ? rest : main, name, variable);
  } finally {
    await main.close();
    await rest?.close();
  }
}

async function assignFrom(reader: TensorReader, name: string, variable: Variable): Promise<void> {
  const place = { file: reader.fileOf(name), tensor: name };
  const entry = reader.tensors.get(name);
  if (entry === undefined)
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The checkpoint lacks a trained tensor.', {
      place,
      hint: 'It was written under another strategy or model.',
    });
  if (entry.shape.join() !== variable.shape.join()) {
    throw new WhetstoneError('CHECKPOINT_INVALID', 'A tensor of the checkpoint has another shape.', {
      place,
      expected: `[${variable.shape.join(', ')}]`,
      found: `[${entry.shape.join(', ')}]`,
      hint: 'It was written under another strategy or model.',
    });
  }
  const read = tensor(await reader.readFloat32(name), variable.shape, 'float32');
  const isShort = storageOf(variable).format === 'bfloat16' && entry.dtype === 'BF16';
  const value = isShort ? storeBfloat16(read) : read;
  variable.assign(value);
  dispose([read, value]);
}

/** Writes the files of a tokenizer that tokens were added to. */
export async function writeCompanions(
  folder: string,
  { companionFiles: files = {} }: Pick<LoadedModel, 'companionFiles'>,
): Promise<void> {
  for (const [name, text] of Object.entries(files)) await writeText(join(folder, name), text);
}

/**
 * Copies tokenizer, template and generation settings of the base model; a template of the run's own takes the place of
 * the model's.
 */
export async function copyCompanionFiles(
  folder: string,
  loaded: Pick<LoadedModel, 'model' | 'companionFiles'>,
  chatTemplatePath: string | null,
): Promise<void> {
  const { model } = loaded;
  if (model.folder !== null) {
    for (const name of companionFiles)
      await copyFile(join(model.folder, name), join(folder, name)).catch(() => undefined);
  }
  await writeCompanions(folder, loaded);
  await copyTemplate(folder, chatTemplatePath);
}

/** Writes the run's own chat template, where it has one. */
export async function copyTemplate(folder: string, chatTemplatePath: string | null): Promise<void> {
  if (chatTemplatePath !== null)
    await writeText(join(folder, 'chat_template.jinja'), await readFile(chatTemplatePath, 'utf8'));
}

function writeText(file: string, text: string): Promise<void> {
  return writeAtomically(file, (handle) => writeFully(handle, new TextEncoder().encode(text)));
}

/** JSON as Python writes it with indent 2 and sorted keys: what PEFT's own folders look like. */
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
    `${type}, trained with Whetstone on a ${model.architecture} model. It loads in Whetstone (\`whetstone chat ` +
    `MODEL --adapter FOLDER\`) and in PEFT.\n`
  );
}
