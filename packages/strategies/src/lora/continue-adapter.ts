import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import { WhetstoneError, type ModelOutline, type Problem, type StrategyPlan } from '@whetstone/core/contract';
import { configFile, readFields, tensorFile, throwProblems, type AdapterFiles } from '../adapters/adapter-files.js';
import { loraOptionsOf, peftPrefix } from './from-peft.js';
import { defaultLoraOptions, type LoraOptions } from './options.js';
import { planLora } from './plan.js';
import { assignCopy } from '../support/unfreeze.js';

/** What an adapter's folder decides: given beside it, it must be the same. */
const ofAdapter = [
  'rank',
  'alpha',
  'rankPattern',
  'alphaPattern',
  'modulesToSave',
  'useRslora',
  'useDora',
  'bias',
  'excludeModules',
  'layersToTransform',
  'layersPattern',
  'targetModules',
  'initLoraWeights',
] as const;

/** A key of the file as this strategy calls it: PEFT's wrappers around whole modules left out. */
const ownKey = (key: string): string =>
  (key.startsWith(peftPrefix) ? key : peftPrefix + key)
    .replace(/\.modules_to_save(\.default)?\./, '.')
    .replace(/\.lora_magnitude_vector\.weight$/, '.lora_magnitude_vector');

/**
 * The options under which an adapter goes on being trained: its own, with the dropout and LoRA+ ratio that are given.
 *
 * @throws ADAPTER_INVALID where it is no LoRA, or adapts what is only loaded here; CONFIG_CONFLICT where other options
 *   are given beside it.
 */
export function continuedOptions(given: LoraOptions, files: AdapterFiles): LoraOptions {
  const fields = readFields(files);
  const type = fields.stringOrNull('peft_type');
  if (type !== 'LORA')
    throw new WhetstoneError('ADAPTER_INVALID', 'lora can only train on a LoRA adapter.', {
      place: { file: configFile(files.folder), path: 'peft_type' },
      expected: 'LORA',
      found: type ?? 'nothing',
    });
  const own = loraOptionsOf(fields, files);
  throwProblems(fields.problems, files);
  const differing = ofAdapter.flatMap((key): readonly Problem[] => {
    const [wanted, standard, stored] = [given[key], defaultLoraOptions[key], own[key]].map((value) =>
      JSON.stringify(value),
    );
    return wanted === standard || wanted === stored
      ? []
      : [
          {
            message: `${key} is not the adapter's.`,
            place: { path: `strategy.options.${key}` },
            expected: stored ?? 'nothing',
            found: wanted ?? 'nothing',
          },
        ];
  });
  if (differing.length > 0) {
    throw new WhetstoneError('CONFIG_CONFLICT', 'The options and the adapter that is trained on exclude each other.', {
      place: { path: 'strategy.options.adapter' },
      problems: differing,
      hint: 'Leave these options out: the adapter decides them.',
    });
  }
  const modules = [...files.tensors.keys()]
    .map(ownKey)
    .filter((key) => key.endsWith('.lora_A.weight'))
    .map((key) => key.slice(peftPrefix.length, -'.lora_A.weight'.length));
  const embeddings = [...files.tensors.keys()].filter((key) => key.includes('lora_embedding'));
  if (embeddings.length > 0 || modules.length === 0) {
    throw new WhetstoneError(
      'ADAPTER_INVALID',
      modules.length === 0 ? 'The file holds no LoRA tensors.' : 'Adapted embeddings can be used, but not trained on.',
      { place: { file: tensorFile(files.folder) }, found: embeddings.join(', ') || 'none' },
    );
  }
  return {
    ...own,
    targetModules: modules,
    dropout: given.dropout === defaultLoraOptions.dropout ? own.dropout : given.dropout,
    loraPlusRatio: given.loraPlusRatio,
  };
}

/**
 * What is trained on, checked against the adapter's tensors. @throws ADAPTER_INVALID listing every tensor that is
 * missing, unknown or misshapen.
 */
export function planContinued(model: ModelOutline, options: LoraOptions, files: AdapterFiles): StrategyPlan {
  const file = tensorFile(files.folder);
  const lost = (options.targetModules as readonly string[]).filter((name) => !model.linearSites.has(name));
  throwProblems(
    lost.map((name) => ({
      message: 'The model has no such module.',
      place: { file, tensor: `${peftPrefix}${name}.lora_A.weight` },
    })),
    files,
  );
  const plan = planLora(model, options);
  const stored = tensorsByOwnKey(files);
  const problems: Problem[] = [];
  for (const [name, shape] of plan.trainable) {
    const found = stored.get(name)?.shape;
    if (found?.join() === shape.join()) continue;
    problems.push({
      message: found === undefined ? 'A tensor is missing.' : 'A tensor has another shape.',
      place: { file, tensor: name },
      expected: `[${shape.join(', ')}]`,
      ...(found === undefined ? {} : { found: `[${found.join(', ')}]` }),
    });
  }
  for (const name of stored.keys())
    if (!plan.trainable.has(name))
      problems.push({
        message: 'The adapter holds a tensor that its configuration does not speak of.',
        place: { file, tensor: name },
      });
  throwProblems(problems, files);
  return plan;
}

/** Starts the trained parameters from the adapter's tensors. */
export function putValues(trainable: ReadonlyMap<string, Variable>, files: AdapterFiles): void {
  const stored = tensorsByOwnKey(files);
  for (const [name, variable] of trainable) {
    const value = stored.get(name);
    if (value !== undefined) assignCopy(variable, value);
  }
}

/** PEFT saves the untrained original of a module with biases beside it: left out. */
const tensorsByOwnKey = ({ tensors }: AdapterFiles): Map<string, Tensor> =>
  new Map(
    [...tensors].filter(([key]) => !key.includes('.original_module.')).map(([key, tensor]) => [ownKey(key), tensor]),
  );
