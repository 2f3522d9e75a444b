import type { Problem } from '../contract/errors.js';
import { isRecord, selectsModule, type ModuleSelection } from '../util/index.js';
import {
  inTensors,
  pathOf,
  PREFIX,
  shapeProblems,
  type Exported,
  type ExportedModel,
  type Fields,
} from './exported-shapes.js';

const configPath = (field: string): string => `exportAdapter().config.${field}`;

/**
 * Compares the configuration of an exported adapter with its tensors and the model, by the rules with which PEFT reads
 * adapters. Returns a problem for each difference with which PEFT would ignore tensors, leave modules untrained, or
 * refuse the adapter.
 */
export function exportMismatches(model: ExportedModel, exported: Exported): readonly Problem[] {
  const type = exported.config['peft_type'];
  if (type === 'PREFIX_TUNING') return virtualTokenProblems(exported, prefixFields(model, exported.config));
  if (type === 'PROMPT_TUNING' || type === 'P_TUNING')
    return virtualTokenProblems(exported, promptFields(model, exported.config));
  try {
    return [
      ...virtualRowProblems(exported),
      ...refusedFields(exported),
      ...selectionProblems(model, exported),
      ...savedProblems(model, exported),
      ...tokenProblems(exported),
      ...shapeProblems(model, exported),
    ];
  } catch (cause) {
    if (cause instanceof SyntaxError) return [invalidPattern(cause)];
    throw cause;
  }
}

/** Returns problems for combinations of fields that PEFT refuses. */
function refusedFields({ config }: Exported): readonly Problem[] {
  const isSet = (field: string): boolean => (config[field] ?? null) !== null;
  const isPattern = typeof config['target_modules'] === 'string';
  const beside = ['layers_to_transform', 'layers_pattern'].filter((field) => isPattern && isSet(field));
  const withoutLayers = !isPattern && isSet('layers_pattern') && !isSet('layers_to_transform');
  return [
    ...beside.map((field) => ({
      message: `PEFT refuses ${field} if target_modules is a string.`,
      place: { path: configPath(field) },
      expected: 'null, or a list of names in target_modules',
    })),
    ...(withoutLayers && config['layers_pattern'] !== ''
      ? [
          {
            message: 'PEFT refuses layers_pattern without layers_to_transform.',
            place: { path: configPath('layers_pattern') },
          },
        ]
      : []),
  ];
}

// Virtual tokens.

/** The width of the rows of virtual tokens, and the fields of the configuration with their values for the model. */
interface VirtualTokens {
  readonly width: number;
  readonly fields: readonly (readonly [field: string, found: unknown, expected: number, meaning: string])[];
}

/** PEFT takes fields that are missing from the model. */
const numberOr = (value: unknown, otherwise: number): number => (typeof value === 'number' ? value : otherwise);

function promptFields({ hiddenSize }: ExportedModel, config: Fields): VirtualTokens {
  const width = numberOr(config['token_dim'], hiddenSize);
  return { width, fields: [['token_dim', width, hiddenSize, 'the hidden size of the model']] };
}

function prefixFields({ attentionSites, layers }: ExportedModel, config: Fields): VirtualTokens {
  const [{ keyValueHeads, headDim } = { keyValueHeads: 1, headDim: 1 }] = attentionSites;
  const tokenDim = numberOr(config['token_dim'], keyValueHeads * headDim);
  const layerCount = numberOr(config['num_layers'], layers);
  return {
    width: 2 * layerCount * tokenDim,
    fields: [
      ['num_layers', layerCount, layers, 'the layers of the model'],
      ['token_dim', tokenDim, keyValueHeads * headDim, 'key and value heads × head size of the model'],
      ['num_attention_heads', numberOr(config['num_attention_heads'], keyValueHeads), keyValueHeads, 'its key heads'],
    ],
  };
}

function virtualTokenProblems({ config, tensors }: Exported, { width, fields }: VirtualTokens): readonly Problem[] {
  const tensor = tensors.get('prompt_embeddings');
  const rows = config['num_virtual_tokens'];
  const expected = `[${typeof rows === 'number' ? rows : 'num_virtual_tokens'}, ${width}]`;
  const found = `[${tensor?.shape.join(', ') ?? ''}]`;
  return [
    ...(typeof rows === 'number' && Number.isInteger(rows) && rows > 0
      ? []
      : [
          {
            message: 'num_virtual_tokens is not a positive integer.',
            place: { path: configPath('num_virtual_tokens') },
          },
        ]),
    ...fields
      .filter(([, value, wanted]) => value !== wanted)
      .map(([field, value, wanted, meaning]) => ({
        message: `${field} differs from the model.`,
        place: { path: configPath(field) },
        expected: `${wanted}: ${meaning}`,
        found: String(value),
      })),
    ...(tensor !== undefined && found === expected
      ? []
      : [
          {
            message: 'The virtual tokens differ from the configuration.',
            place: { path: inTensors, tensor: 'prompt_embeddings' },
            expected,
            found: tensor === undefined ? 'nothing' : found,
          },
        ]),
    ...[...tensors.keys()]
      .filter((key) => key !== 'prompt_embeddings')
      .map((key) => ({
        message: 'PEFT reads no tensor of this name for adapters with virtual tokens.',
        place: { path: inTensors, tensor: key },
        expected: 'prompt_embeddings only',
      })),
  ];
}

/** Compares the number of virtual tokens of an adapter whose other fields only its own strategy knows. */
function virtualRowProblems({ config, tensors }: Exported): readonly Problem[] {
  const rows = config['num_virtual_tokens'];
  const shape = tensors.get('prompt_embeddings')?.shape;
  if (rows === undefined || shape === undefined || rows === shape[0]) return [];
  return [
    {
      message: 'The virtual tokens differ from num_virtual_tokens of the configuration.',
      place: { path: inTensors, tensor: 'prompt_embeddings' },
      expected: `${String(rows)} rows`,
      found: `[${shape.join(', ')}]`,
    },
  ];
}

// Adapted modules.

/** Returns the paths of all modules: those with parameters, linear layers, and the modules that contain them. */
function modulesOf({ linearSites, parameters }: ExportedModel): ReadonlySet<string> {
  const modules = new Set<string>();
  for (const path of [...linearSites.keys(), ...[...parameters.keys()].map((name) => name.replace(/\.[^.]*$/, ''))]) {
    const segments = path.split('.');
    for (let length = 1; length <= segments.length; length++) modules.add(segments.slice(0, length).join('.'));
  }
  return modules;
}

/** Returns the innermost module of the model to which a tensor belongs; null if there is none. */
function moduleOf(key: string, modules: ReadonlySet<string>): string | null {
  const segments = pathOf(key).split('.');
  for (let length = segments.length - 1; length > 0; length--) {
    const path = segments.slice(0, length).join('.');
    if (modules.has(path)) return path;
  }
  return null;
}

/** Returns the parameter of the model that a tensor replaces; null if it is a tensor of an adapter. */
function parameterOf(key: string, model: ExportedModel): string | null {
  const name = pathOf(key).replace('.base_layer.', '.').replace('.modules_to_save.', '.');
  const module = name.replace(/\.[^.]*$/, '');
  return model.parameters.has(name) || (name.endsWith('.weight') && model.linearSites.has(module)) ? name : null;
}

const isTokenRows = (key: string): boolean => key.endsWith('.token_adapter.trainable_tokens_delta');

const strings = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.filter((one): one is string => typeof one === 'string') : [];

/** Returns the fields by which PEFT selects modules; null if the configuration has no target_modules. */
function selectionOf(config: Fields): ModuleSelection | null {
  const { target_modules: targets, exclude_modules: excluded, layers_to_transform: layers } = config;
  if (typeof targets !== 'string' && strings(targets).length === 0) return null;
  const textOrList = (value: unknown): string | readonly string[] =>
    typeof value === 'string' ? value : strings(value);
  return {
    targetModules: textOrList(targets),
    excludeModules: textOrList(excluded),
    layersToTransform: typeof layers === 'number' ? layers : Array.isArray(layers) ? (layers as number[]) : null,
    layersPattern: textOrList(config['layers_pattern']),
    modulesToSave: strings(config['modules_to_save']),
  };
}

/** Compares the modules with tensors and those that the configuration selects. */
function selectionProblems(model: ExportedModel, { config, tensors }: Exported): readonly Problem[] {
  const selection = selectionOf(config);
  if (selection === null) return [];
  const modules = modulesOf(model);
  const adapted = new Map<string, string>();
  const foreign: string[] = [];
  for (const key of tensors.keys()) {
    if (parameterOf(key, model) !== null || isTokenRows(key)) continue;
    const module = moduleOf(key, modules);
    if (module === null) foreign.push(key);
    else adapted.set(module, key);
  }
  // PEFT also adapts the head that it keeps tied with the embedding.
  const tied = config['ensure_weight_tying'] === true ? tiedHeadOf(model) : null;
  const isSelected = (module: string): boolean => {
    const site = model.linearSites.get(module);
    return selectsModule(module, site !== undefined && !site.isOutput, selection);
  };
  return [
    ...[...modules].filter((module) => isSelected(module) && !adapted.has(module)).map(withoutTensors),
    ...[...adapted]
      .filter(([module]) => !isSelected(module) && module !== tied)
      .map(([module, key]) => notSelected(module, key)),
    // Tensors that all modules share have no module of the model in their name.
    ...(adapted.size > 0 ? [] : foreign.map(withoutModule)),
  ];
}

function tiedHeadOf({ linearSites, parameters }: ExportedModel): string | null {
  const head = [...linearSites.values()].find(({ isOutput }) => isOutput);
  return head === undefined || parameters.has(`${head.name}.weight`) ? null : head.name;
}

const withoutTensors = (module: string): Problem => ({
  message: `The configuration selects ${module}, which has no tensors: PEFT would leave it untrained, or refuse it.`,
  place: { path: configPath('target_modules') },
  expected: 'fields that select the modules of the tensors, by the rules of PEFT',
});

const notSelected = (module: string, key: string): Problem => ({
  message: `The configuration does not select ${module}, so that PEFT would ignore its tensors.`,
  place: { path: inTensors, tensor: key },
});

const withoutModule = (key: string): Problem => ({
  message: 'The tensor belongs to no module of the model.',
  place: { path: inTensors, tensor: key },
  expected: `a key such as ${PREFIX}<module>.<tensor>`,
});

const invalidPattern = ({ message }: SyntaxError): Problem => ({
  message: `A pattern of the configuration is not a regular expression of JavaScript: ${message}.`,
  place: { path: configPath('target_modules') },
});

/** Compares modules_to_save with the parameters among the tensors. PEFT refuses an adapter that lacks one. */
function savedProblems(model: ExportedModel, { config, tensors }: Exported): readonly Problem[] {
  const names = strings(config['modules_to_save']);
  if (names.length === 0) return [];
  const found = new Set([...tensors.keys()].map((key) => parameterOf(key, model)));
  const heads = [...model.linearSites.values()].filter(({ isOutput }) => isOutput).map(({ name }) => `${name}.weight`);
  const belongs = (parameter: string): boolean => {
    const segments = parameter.split('.').slice(0, -1);
    return segments.some((_, last) => {
      const path = segments.slice(0, last + 1).join('.');
      return names.some((name) => path.endsWith(name));
    });
  };
  return [...new Set([...model.parameters.keys(), ...heads])]
    .filter((parameter) => belongs(parameter) && !found.has(parameter))
    .map((parameter) => ({
      message: 'A tensor is missing: modules_to_save selects this parameter.',
      place: { path: inTensors, tensor: PREFIX + parameter },
    }));
}

/** Compares trainable_token_indices with the numbers of rows. */
function tokenProblems({ config, tensors }: Exported): readonly Problem[] {
  const indices = config['trainable_token_indices'];
  const rows = [...tensors].filter(([key]) => isTokenRows(key));
  if (rows.length === 0 && typeof indices === 'object' && indices !== null && Object.keys(indices).length > 0)
    return [
      {
        message: 'The rows of trainable_token_indices are missing.',
        place: { path: configPath('trainable_token_indices') },
        expected: 'tensors such as base_model.model.<module>.token_adapter.trainable_tokens_delta',
      },
    ];
  return rows.flatMap(([key, { shape }]): readonly Problem[] => {
    const module = pathOf(key).replace(/\.token_adapter\.[^.]*$/, '');
    const ids = isRecord(indices)
      ? Object.entries(indices).find(([name]) => module === name || module.endsWith(`.${name}`))?.[1]
      : indices;
    if (Array.isArray(ids) && ids.length === shape[0]) return [];
    return [
      {
        message: 'trainable_token_indices does not list the tokens of these rows.',
        place: { path: inTensors, tensor: key },
        expected: `${shape[0]} tokens for ${module}`,
        found: JSON.stringify(ids ?? null),
      },
    ];
  });
}
