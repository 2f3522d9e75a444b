import { abs, max, sub, tidy, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import {
  WhetstoneError,
  type LanguageModel,
  type ModelOutline,
  type Problem,
  type StrategyPlan,
  type AdapterFiles,
} from '@whetstone/core/contract';
import { configFile, readFields, tensorFile, throwProblems } from '../adapters/adapter-files.js';
import { endingsOf, loraOptionsOf, pathOfKey, peftPrefix, savedSelectionOf, splitName } from './from-peft.js';
import type { LoraOptions } from './options.js';
import { planLora } from './plan.js';
import { headKeptTied, isSaved } from './stored-parameters.js';
import { assignCopy } from '../support/unfreeze.js';
import { tableProblem, withOneSize } from '../support/vocabulary-size.js';
import { selectVariant } from './variants/index.js';
import type { LoraVariant } from './variants/variant.js';

/** Options that the adapter's configuration decides. If they are also configured, they must agree with it. */
const adapterDecides = [
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
  'trainableTokenIndices',
] as const;

/** How the training of a stored adapter continues. */
export interface ContinuedAdapter {
  /** The adapter's options, and the configured dropout and LoRA+ ratio. */
  readonly options: LoraOptions;
  readonly variant: LoraVariant;
}

/** Converts a key of the file to a parameter name of this strategy, without PEFT's wrappers of saved modules. */
const parameterName = (key: string): string =>
  (peftPrefix + pathOfKey(key))
    .replace(/\.modules_to_save\.(?:default\.|[^.]+\.(?=(?:weight|bias)$))?/, '.')
    .replace(/\.lora_magnitude_vector\.weight$/, '.lora_magnitude_vector');

/**
 * Returns the options and the variant with which the training of an adapter continues.
 *
 * @throws `ADAPTER_INVALID` if the adapter is not a LoRA adapter, or adapts embeddings
 * @throws `CONFIG_CONFLICT` if other options are configured that the adapter decides
 */
export function continuedAdapter(
  configuredOptions: Partial<LoraOptions>,
  files: AdapterFiles,
  variants: readonly LoraVariant[],
): ContinuedAdapter {
  const fields = readFields(files);
  const type = fields.stringOrNull('peft_type');
  const ofType = variants.filter(({ peftType }) => peftType === type);
  if (ofType.length === 0)
    throw new WhetstoneError('ADAPTER_INVALID', 'lora can continue training LoRA adapters only.', {
      place: { file: configFile(files.folder), path: 'peft_type' },
      expected: [...new Set(variants.map(({ peftType }) => peftType))].join(', '),
      found: type ?? 'nothing',
    });
  const stored = loraOptionsOf(fields, files);
  throwProblems(fields.problems, files);
  const differing = adapterDecides.flatMap((key): readonly Problem[] => {
    const [configured, expected] = [configuredOptions[key], stored[key]].map((value) => JSON.stringify(value));
    return configured === undefined || configured === expected
      ? []
      : [
          {
            message: `${key} differs from the adapter.`,
            place: { path: `strategy.options.${key}` },
            expected: expected ?? 'nothing',
            found: configured ?? 'nothing',
          },
        ];
  });
  if (differing.length > 0) {
    throw new WhetstoneError('CONFIG_CONFLICT', 'Options differ from the adapter whose training continues.', {
      place: { path: 'strategy.options.adapter' },
      problems: differing,
      hint: 'Remove these options: the adapter decides them.',
    });
  }
  const endings = endingsOf(ofType);
  const modules = new Set(
    [...files.tensors.keys()].flatMap((key) => {
      const { module } = splitName(parameterName(key), endings) ?? {};
      return module === undefined ? [] : [module.slice(peftPrefix.length)];
    }),
  );
  const embeddings = [...files.tensors.keys()].filter((key) => key.includes('lora_embedding'));
  if (embeddings.length > 0 || modules.size === 0) {
    throw new WhetstoneError(
      'ADAPTER_INVALID',
      modules.size === 0 ? 'The file contains no LoRA tensors.' : 'Training of adapted embeddings cannot continue.',
      { place: { file: tensorFile(files.folder) }, found: embeddings.join(', ') || 'none' },
    );
  }
  const options = {
    ...stored,
    targetModules: [...modules],
    excludeModules: null,
    layersToTransform: null,
    layersPattern: null,
    dropout: configuredOptions.dropout ?? stored.dropout,
    loraPlusRatio: configuredOptions.loraPlusRatio ?? null,
  };
  return { options, variant: selectVariant(options, ofType) };
}

/**
 * Returns the plan for continued training, checked against the adapter's tensors.
 *
 * @throws `ADAPTER_INVALID` if tensors are missing, unknown or misshapen; lists all of them
 */
export function planContinued(
  model: ModelOutline,
  { options, variant }: ContinuedAdapter,
  files: AdapterFiles,
): StrategyPlan {
  const file = tensorFile(files.folder);
  const missing = (options.targetModules as readonly string[]).filter((name) => !model.linearSites.has(name));
  throwProblems(
    missing.map((name) => ({
      message: 'The model lacks this module.',
      place: { file, tensor: `${peftPrefix}${name}.lora_A.weight` },
    })),
    files,
  );
  const plan = planLora(model, options, variant);
  const stored = tensorsByParameter(files);
  const problems: Problem[] = [...tieProblems(model, files)];
  for (const [name, shape] of plan.trainable) {
    const tensor = stored.get(name);
    const missing = {
      message: 'A tensor is missing.',
      place: { file, tensor: name },
      expected: `[${shape.join(', ')}]`,
    };
    const module = name.slice(peftPrefix.length).replace(/(\.lora_\w+)?(\.weight)?$/, '');
    const problem =
      tensor === undefined ? missing : tableProblem(model, { module, key: name, tensor, expected: shape }, files);
    if (problem !== null) problems.push(problem);
  }
  for (const name of stored.keys())
    if (!plan.trainable.has(name))
      problems.push({
        message: "The adapter contains a tensor that does not match the adapter's configuration.",
        place: { file, tensor: name },
      });
  throwProblems(withOneSize(problems), files);
  return plan;
}

/** Returns a problem if PEFT trained the embedding and the head with one weight: here each would get one of its own. */
function tieProblems(model: ModelOutline, files: AdapterFiles): Problem[] {
  const selection = savedSelectionOf(readFields(files));
  if (headKeptTied(model, selection) === null || !isSaved(model, model.embeddingSite.name, selection)) return [];
  return [
    {
      message: 'Training cannot keep the embedding and the head of this adapter tied.',
      place: { file: configFile(files.folder), path: 'ensure_weight_tying' },
      found: 'true, with the embedding in modules_to_save',
      hint: 'Merge the adapter into its model, and train a new one on the result.',
    },
  ];
}

/** Initialises the trained parameters from the adapter's tensors. */
export function copyAdapterValues(trainable: ReadonlyMap<string, Variable>, files: AdapterFiles): void {
  const stored = tensorsByParameter(files);
  for (const [name, variable] of trainable) {
    const value = stored.get(name);
    if (value !== undefined) assignCopy(variable, value);
  }
}

/** The largest difference of equal weights of which one was rounded to bfloat16. */
const ROUNDING = 1e-2;

/** The end of the key under which PEFT saves the untrained weight of an adapted head. */
const baseWeight = '.base_layer.weight';

/**
 * Compares the weights of adapted layers that PEFT saved with the adapter, such as that of the head, with the model's.
 *
 * @throws `ADAPTER_INVALID` if one differs: the adapter was trained on another base
 */
export function checkBaseWeights(model: LanguageModel, files: AdapterFiles): void {
  const problems: Problem[] = [];
  for (const [key, tensor] of files.tensors) {
    if (!key.endsWith(baseWeight)) continue;
    const site = model.linearSites.get(pathOfKey(key).slice(0, -baseWeight.length));
    if (site === undefined) continue;
    const differs =
      site.weight.shape.join() !== tensor.shape.join() ||
      tidy(() => (max(abs(sub(site.weight, tensor))).dataSync()[0] ?? 0) > ROUNDING);
    if (!differs) continue;
    problems.push({
      message: 'The adapter was trained on another weight of this layer than the model has.',
      place: { file: tensorFile(files.folder), tensor: key },
      expected: `the weight of the model, [${site.weight.shape.join(', ')}]`,
      found: `[${tensor.shape.join(', ')}]`,
    });
  }
  throwProblems(problems, files);
}

/** Returns the tensors by parameter name, without the untrained originals that PEFT saves for modules with biases. */
const tensorsByParameter = ({ tensors }: AdapterFiles): Map<string, Tensor> =>
  new Map(
    [...tensors]
      .filter(([key]) => !key.includes('.original_module.') && !key.endsWith(baseWeight))
      .map(([key, tensor]) => [parameterName(key), tensor]),
  );
