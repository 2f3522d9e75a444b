import {
  add,
  keep,
  matMul,
  tanh,
  tensor,
  tidy,
  variable,
  type Tensor,
  type Tensor2D,
  type Variable,
} from '@tensorflow/tfjs-core';
import {
  defaultsOf,
  WhetstoneError,
  type Attachment,
  type Json,
  type LanguageModel,
  type ModelOutline,
  type Strategy,
  type StrategyPlan,
  type StrategyRun,
  type AdapterFiles,
} from '@whetstone/core/contract';
import { sortKeys } from '@whetstone/core/util';
import { configFile, readFields, shapeProblem, tensorFile, throwProblems } from '../adapters/adapter-files.js';
import { refusedFields } from '../adapters/known-fields.js';
import { warnAboutAdapter } from '../adapters/base-model.js';
import { unreported, withAdapter } from '../adapters/read-adapter-folder.js';
import { assignCopy } from '../support/unfreeze.js';
import { createRandom, fillFloat32, type Random } from '@whetstone/core/random';
import { attachPrefix, attachPrompt } from './attach.js';
import { configSchema, type PrefixOptions } from './options.js';

const defaults = defaultsOf(configSchema);

/** Standard deviation of new prefixes: small, so that training starts close to the base model. */
const initialDeviation = 0.02;

/** Creates a set of named variables. */
function createParameters(): {
  readonly trainable: Map<string, Variable>;
  make(name: string, values: Float32Array, shape: number[]): Tensor2D;
  dispose(): void;
} {
  const trainable = new Map<string, Variable>();
  return {
    trainable,
    make: (name, values, shape) => {
      const initial = tensor(values, shape);
      const made = variable(initial, true);
      initial.dispose();
      trainable.set(name, made);
      return made as Tensor as Tensor2D;
    },
    dispose: () => {
      for (const each of trainable.values()) each.dispose();
    },
  };
}

/**
 * Returns the shape of the keys, which must be the same in all layers.
 *
 * @throws `STRATEGY_TARGETS_NOTHING` if layers differ or there is none
 */
function keyShape(model: ModelOutline): { readonly heads: number; readonly tokenDim: number } {
  const shapes = new Set(model.attentionSites.map((site) => `${site.keyValueHeads}×${site.headDim}`));
  const first = model.attentionSites[0];
  if (first === undefined || shapes.size !== 1) {
    throw new WhetstoneError('STRATEGY_TARGETS_NOTHING', 'Prefixes require attention layers with the same shape.', {
      place: { path: 'strategy.use' },
      found: [...shapes].join(', ') || 'no attention layer',
    });
  }
  return { heads: first.keyValueHeads, tokenDim: first.keyValueHeads * first.headDim };
}

const normal = (random: Random, count: number, deviation: number): Float32Array =>
  fillFloat32(count, () => deviation * random.normal());
/** PyTorch's default for nn.Linear: U(±1 ÷ √in) for weight and bias. */
const linear = (random: Random, count: number, inFeatures: number): Float32Array =>
  fillFloat32(count, () => (2 * random.uniform() - 1) / Math.sqrt(inFeatures));

/** Creates PEFT's `adapter_config.json`, keys sorted. */
function configOf(
  model: LanguageModel,
  options: PrefixOptions,
  tokenDim: number,
  heads: number,
  modelFolder: string | null,
): Json {
  const common = {
    auto_mapping: null,
    base_model_name_or_path: modelFolder ?? model.folder,
    inference_mode: true,
    modules_to_save: null,
    num_attention_heads: heads,
    num_layers: model.layers,
    num_transformer_submodules: 1,
    num_virtual_tokens: options.virtualTokens,
    peft_version: '0.21.2',
    revision: null,
    task_type: 'CAUSAL_LM',
    token_dim: tokenDim,
  };
  const own: { readonly [key: string]: Json } =
    options.depth === 'every-layer'
      ? {
          peft_type: 'PREFIX_TUNING',
          prefix_projection: options.projection,
          encoder_hidden_size: options.encoderHiddenSize ?? tokenDim,
          init_weights: options.init === 'zero' ? 'zero' : null,
        }
      : {
          peft_type: 'PROMPT_TUNING',
          prompt_tuning_init: 'RANDOM',
          prompt_tuning_init_text: null,
          tokenizer_kwargs: null,
          tokenizer_name_or_path: null,
        };
  return sortKeys({ ...common, ...own });
}

/**
 * Attaches trained keys and values of every layer, [virtualTokens, 2·layers·tokenDim] (P-tuning v2, Liu et al. 2021).
 */
function attachEveryLayer(
  model: LanguageModel,
  options: PrefixOptions,
  seed: number,
  modelFolder: string | null,
): Attachment {
  const { heads, tokenDim } = keyShape(model);
  const { virtualTokens, projection } = options;
  const hidden = options.encoderHiddenSize ?? tokenDim;
  const width = 2 * model.attentionSites.length * tokenDim;
  const random = createRandom(seed, 'prefix');
  const parameters = createParameters();
  const isZero = options.init === 'zero';
  let embeddings: () => Tensor2D;
  if (projection) {
    const embedding = parameters.make('prompt_encoder.embedding.weight', normal(random, virtualTokens * tokenDim, 1), [
      virtualTokens,
      tokenDim,
    ]);
    const first = parameters.make('prompt_encoder.transform.0.weight', linear(random, hidden * tokenDim, tokenDim), [
      hidden,
      tokenDim,
    ]);
    const firstBias = parameters.make('prompt_encoder.transform.0.bias', linear(random, hidden, tokenDim), [hidden]);
    const second = parameters.make(
      'prompt_encoder.transform.2.weight',
      isZero ? new Float32Array(width * hidden) : linear(random, width * hidden, hidden),
      [width, hidden],
    );
    const secondBias = parameters.make(
      'prompt_encoder.transform.2.bias',
      isZero ? new Float32Array(width) : linear(random, width, hidden),
      [width],
    );
    embeddings = () =>
      add(matMul(tanh(add(matMul(embedding, first, false, true), firstBias)), second, false, true), secondBias);
  } else {
    const prefix = parameters.make(
      'prompt_embeddings',
      isZero ? new Float32Array(virtualTokens * width) : normal(random, virtualTokens * width, initialDeviation),
      [virtualTokens, width],
    );
    embeddings = () => prefix;
  }
  const detach = attachPrefix(model, embeddings);
  let exported: Tensor | null = null;
  return {
    trainable: parameters.trainable,
    exportAdapter: () => {
      const config = configOf(model, options, tokenDim, heads, modelFolder);
      if (!projection) return { tensors: new Map(parameters.trainable), config };
      exported?.dispose();
      exported = keep(tidy(embeddings));
      return { tensors: new Map([['prompt_embeddings', exported]]), config };
    },
    saveState: () => ({ tensors: new Map(), values: null }),
    loadState: () => {},
    dispose: () => {
      detach();
      exported?.dispose();
      parameters.dispose();
    },
  };
}

/** Attaches trained embeddings before the text, [virtualTokens, hidden] (prompt tuning, Lester et al. 2021). */
async function attachInput(
  model: LanguageModel,
  options: PrefixOptions,
  seed: number,
  modelFolder: string | null,
): Promise<Attachment> {
  const { virtualTokens, init } = options;
  const { hiddenSize } = model;
  const random = createRandom(seed, 'prompt');
  const values =
    init === 'random'
      ? normal(random, virtualTokens * hiddenSize, initialDeviation)
      : new Float32Array(virtualTokens * hiddenSize);
  if (init === 'vocabulary') {
    const table = await model.embeddingSite.weight.data<'float32'>();
    for (let token = 0; token < virtualTokens; token++) {
      const row = random.integer(model.vocabularySize) * hiddenSize;
      values.set(table.subarray(row, row + hiddenSize), token * hiddenSize);
    }
  }
  const parameters = createParameters();
  const prompt = parameters.make('prompt_embeddings', values, [virtualTokens, hiddenSize]);
  const detach = attachPrompt(model, () => prompt);
  const heads = model.config['num_attention_heads'] ?? model.config['n_head'];
  return {
    trainable: parameters.trainable,
    exportAdapter: () => ({
      tensors: new Map(parameters.trainable),
      config: configOf(model, options, hiddenSize, typeof heads === 'number' ? heads : 1, modelFolder),
    }),
    saveState: () => ({ tensors: new Map(), values: null }),
    loadState: () => {},
    dispose: () => {
      detach();
      parameters.dispose();
    },
  };
}

/**
 * Returns the shapes of the trained parameters.
 *
 * @throws `STRATEGY_TARGETS_NOTHING` if attention layers have different shapes
 * @throws `CONFIG_INVALID` if the virtual tokens leave no position for text
 */
function planPrefix(model: ModelOutline, options: PrefixOptions): StrategyPlan {
  const { virtualTokens } = options;
  if (model.maxLength !== undefined && virtualTokens >= model.maxLength)
    throw new WhetstoneError('CONFIG_INVALID', 'The virtual tokens leave no position for text.', {
      place: { path: 'strategy.options.virtualTokens' },
      expected: `less than the ${model.maxLength} positions of the model (max_position_embeddings)`,
      found: String(virtualTokens),
    });
  return { ...shapesOf(model, options), virtualTokens };
}

function shapesOf(model: ModelOutline, options: PrefixOptions): Pick<StrategyPlan, 'trainable'> {
  const { virtualTokens, depth, projection } = options;
  if (depth === 'input') return { trainable: new Map([['prompt_embeddings', [virtualTokens, model.hiddenSize]]]) };
  const { tokenDim } = keyShape(model);
  const hidden = options.encoderHiddenSize ?? tokenDim;
  const width = 2 * model.attentionSites.length * tokenDim;
  if (!projection) return { trainable: new Map([['prompt_embeddings', [virtualTokens, width]]]) };
  return {
    trainable: new Map<string, readonly number[]>([
      ['prompt_encoder.embedding.weight', [virtualTokens, tokenDim]],
      ['prompt_encoder.transform.0.weight', [hidden, tokenDim]],
      ['prompt_encoder.transform.0.bias', [hidden]],
      ['prompt_encoder.transform.2.weight', [width, hidden]],
      ['prompt_encoder.transform.2.bias', [width]],
    ]),
  };
}

/**
 * Returns the options with which training of a stored prefix or prompt continues.
 *
 * @throws `ADAPTER_INVALID` if the adapter has a different type or shape
 * @throws `CONFIG_CONFLICT` if options are configured that the adapter decides
 */
function continuedOptions(
  model: ModelOutline,
  configuredOptions: Partial<PrefixOptions>,
  files: AdapterFiles,
): PrefixOptions {
  const fields = readFields(files);
  const type = fields.stringOrNull('peft_type');
  if (type !== 'PREFIX_TUNING' && type !== 'PROMPT_TUNING')
    throw new WhetstoneError('ADAPTER_INVALID', 'p-tuning-v2 can continue training prefixes and prompts only.', {
      place: { file: configFile(files.folder), path: 'peft_type' },
      expected: 'PREFIX_TUNING or PROMPT_TUNING',
      found: type ?? 'nothing',
    });
  const stored = {
    virtualTokens: fields.number('num_virtual_tokens', 0),
    depth: type === 'PREFIX_TUNING' ? 'every-layer' : 'input',
  } as const;
  const problems = [...fields.problems];
  for (const key of ['virtualTokens', 'depth'] as const) {
    if (configuredOptions[key] !== undefined && configuredOptions[key] !== stored[key])
      problems.push({
        message: `${key} differs from the adapter.`,
        place: { path: `strategy.options.${key}` },
        expected: String(stored[key]),
        found: String(configuredOptions[key]),
      });
  }
  if (configuredOptions.projection === true)
    problems.push({
      message: 'A stored prefix does not include its MLP.',
      place: { path: 'strategy.options.projection' },
    });
  if (problems.length > fields.problems.length)
    throw new WhetstoneError('CONFIG_CONFLICT', 'Options differ from the adapter whose training continues.', {
      place: { path: 'strategy.options.adapter' },
      problems,
      hint: 'Remove these options: the adapter decides them.',
    });
  const options: PrefixOptions = { ...defaults, ...configuredOptions, ...stored, projection: false, init: 'zero' };
  const shape = planPrefix(model, options).trainable.get('prompt_embeddings') ?? [];
  const embeddings = files.tensors.get('prompt_embeddings');
  const problem =
    embeddings === undefined
      ? { message: 'A tensor is missing.', place: { file: tensorFile(files.folder), tensor: 'prompt_embeddings' } }
      : shapeProblem('prompt_embeddings', embeddings, shape, files);
  throwProblems([...problems, ...refusedFields(fields, files), ...(problem === null ? [] : [problem])], files);
  return options;
}

/** Creates the strategy `p-tuning-v2`, which trains a prefix or prompt of a frozen model. */
export function prefixStrategy(options: Partial<PrefixOptions> = {}): Strategy {
  const resolved: PrefixOptions = { ...defaults, ...options };
  const conflict = (path: string, message: string): never => {
    throw new WhetstoneError('CONFIG_CONFLICT', message, { place: { path: `strategy.options.${path}` } });
  };
  if (resolved.depth === 'input' && resolved.projection)
    conflict('projection', 'projection requires depth `every-layer`.');
  if (resolved.depth === 'every-layer' && resolved.init === 'vocabulary')
    conflict('init', 'init `vocabulary` requires depth `input`.');
  const attach = (
    model: LanguageModel,
    use: PrefixOptions,
    { seed, modelFolder }: StrategyRun,
  ): Attachment | Promise<Attachment> =>
    (use.depth === 'input' ? attachInput : attachEveryLayer)(model, use, seed, modelFolder);
  const { adapter } = resolved;
  if (adapter === null)
    return {
      role: 'owner',
      plan: (model) => ({
        ...planPrefix(model, resolved),
        unusedOptions:
          resolved.projection || options.encoderHiddenSize === undefined
            ? []
            : [{ path: 'strategy.options.encoderHiddenSize', reason: 'the MLP exists only with projection' }],
      }),
      attach: (model, run) => attach(model, resolved, run),
    };
  return {
    role: 'owner',
    plan: (model) =>
      withAdapter(
        adapter,
        (files) => ({
          ...planPrefix(model, continuedOptions(model, options, files)),
          unusedOptions: (['init', 'encoderHiddenSize'] as const).flatMap((key) =>
            options[key] === undefined
              ? []
              : [{ path: `strategy.options.${key}`, reason: 'training continues from the values of the adapter' }],
          ),
        }),
        unreported,
      ),
    attach: (model, run) =>
      withAdapter(
        adapter,
        async (files) => {
          const continued = continuedOptions(model, options, files);
          await warnAboutAdapter(model, files, run);
          const attachment = await attach(model, continued, run);
          for (const [name, parameter] of attachment.trainable)
            assignCopy(parameter, files.tensors.get(name) ?? parameter);
          return attachment;
        },
        { warn: run.warn },
      ),
  };
}
