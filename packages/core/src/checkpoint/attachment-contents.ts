import type { Tensor } from '@tensorflow/tfjs-core';
import type { ErrorCode } from '../contract/error-codes.js';
import { WhetstoneError, type Problem } from '../contract/errors.js';
import type { ExportedAdapter, SavedState } from '../contract/strategy.js';
import {
  describeFound,
  isRecord,
  isTensorLike,
  jsonProblem,
  unknownMembers,
  type UnknownMember,
} from '../util/index.js';
import { exportMismatches } from './export-mismatches.js';
import type { ExportedModel } from './exported-shapes.js';

/** The JSON files of an adapter folder that are not written from `files` of an exported adapter. */
const reservedFiles = [
  'adapter_config.json',
  'manifest.json',
  'whetstone.json',
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
];
/** The dtypes that a safetensors file of Whetstone contains. */
const savedDtypes = ['float32', 'int32', 'bool'];

/** Returns a problem for each member that is not known. */
export const unknownMemberProblems = (
  members: readonly UnknownMember[],
  owner: string,
  path: string,
): readonly Problem[] =>
  members.map(({ name, hint }) => ({
    message: `${owner} has an unknown key: ${name}.`,
    place: { path: path === '' ? name : `${path}.${name}` },
    hint,
  }));

const isTensor = (value: unknown): value is Tensor => isTensorLike(value);

/** Returns the problems of a map of tensors that are to be written to a file. */
export function tensorProblems(tensors: unknown, path: string, kind: 'tensors' | 'variables'): readonly Problem[] {
  if (!(tensors instanceof Map))
    return [
      {
        message: `${path} is not a Map.`,
        place: { path },
        expected: `a Map of ${kind} by name`,
        found: describeFound(tensors),
      },
    ];
  return [...tensors].flatMap(([name, value]: readonly [unknown, unknown]): readonly Problem[] => {
    // The header of a safetensors file has this name for what is no tensor.
    if (typeof name !== 'string' || name === '' || name === '__metadata__')
      return [
        {
          message: `${path} has an invalid name.`,
          place: { path },
          expected: 'a name other than __metadata__',
          found: describeFound(name),
        },
      ];
    const place = { path, tensor: name };
    if (!isTensor(value) || (kind === 'variables' && typeof (value as { assign?: unknown }).assign !== 'function'))
      return [
        {
          message: `${path} contains a value that is not one of the ${kind}.`,
          place,
          expected: `${kind} of tfjs-core`,
          found: describeFound(value),
        },
      ];
    if (value.isDisposed)
      return [
        {
          message: `${path} contains a disposed tensor.`,
          place,
          hint: 'The attachment owns its tensors until dispose is called.',
        },
      ];
    return savedDtypes.includes(value.dtype)
      ? []
      : [
          {
            message: `${path} contains a tensor that cannot be saved.`,
            place,
            expected: `one of the dtypes ${savedDtypes.join(', ')}`,
            found: value.dtype,
          },
        ];
  });
}

function jsonProblems(value: unknown, path: string): readonly Problem[] {
  const problem = jsonProblem(value, path);
  return problem === null
    ? []
    : [
        {
          message: `${path} is not plain JSON.`,
          place: { path: problem.path },
          expected: 'null, true, false, a finite number, a string, or lists and objects of them',
          found: problem.found,
        },
      ];
}

/** Returns the problems of what `saveState` returned, without reading its tensors. */
export function stateProblems(state: unknown): readonly Problem[] {
  const expected = '{ tensors, values }; without state { tensors: new Map(), values: null }';
  if (!isRecord(state))
    return [
      {
        message: 'saveState did not return a state.',
        place: { path: 'saveState()' },
        expected,
        found: describeFound(state),
      },
    ];
  return [
    ...unknownMemberProblems(unknownMembers(state, ['tensors', 'values']), 'The state', 'saveState()'),
    ...tensorProblems(state['tensors'], 'saveState().tensors', 'tensors'),
    ...jsonProblems(state['values'], 'saveState().values'),
  ];
}

/** Returns the problem of tensor data that has a value that is not finite; null if there is none. */
export function finiteProblem(name: string, values: ArrayLike<number>, path: string): Problem | null {
  for (let index = 0; index < values.length; index++) {
    if (!Number.isFinite(values[index]))
      return {
        message: `${path} contains a value that is not finite.`,
        place: { path, tensor: name },
        expected: 'finite numbers',
        found: `${values[index]} at index ${index}`,
      };
  }
  return null;
}

/** Returns the problems of what `exportAdapter` returned, without reading its tensors. */
function exportProblems(adapter: unknown): readonly Problem[] {
  const expected = '{ tensors, config }, and optionally files';
  if (!isRecord(adapter) || adapter instanceof Promise)
    return [
      {
        message: 'exportAdapter did not return an adapter.',
        place: { path: 'exportAdapter()' },
        expected,
        found: describeFound(adapter),
      },
    ];
  const { tensors, config, files } = adapter;
  const path = 'exportAdapter().config';
  const type = isRecord(config) ? config['peft_type'] : undefined;
  return [
    ...unknownMemberProblems(unknownMembers(adapter, ['tensors', 'config', 'files']), 'The adapter', 'exportAdapter()'),
    ...tensorProblems(tensors, 'exportAdapter().tensors', 'tensors'),
    ...(tensors instanceof Map && tensors.size === 0
      ? [{ message: 'exportAdapter().tensors is empty.', place: { path: 'exportAdapter().tensors' } }]
      : []),
    ...(isRecord(config)
      ? jsonProblems(config, path)
      : [
          {
            message: `${path} is not an object.`,
            place: { path },
            expected: 'the contents of adapter_config.json',
            found: describeFound(config),
          },
        ]),
    ...(isRecord(config) && (typeof type !== 'string' || type === '')
      ? [
          {
            message: 'The configuration of the adapter has no type.',
            place: { path: `${path}.peft_type` },
            expected: 'a string: what reads the adapter is found by it',
            found: describeFound(type),
          },
        ]
      : []),
    ...fileProblems(files),
  ];
}

function fileProblems(files: unknown): readonly Problem[] {
  const path = 'exportAdapter().files';
  if (files === undefined) return [];
  if (!isRecord(files))
    return [
      {
        message: `${path} is not an object.`,
        place: { path },
        expected: 'contents of JSON files by file name',
        found: describeFound(files),
      },
    ];
  return Object.entries(files).flatMap(([name, content]): readonly Problem[] => [
    ...(/^[\w-][\w.-]*\.json$/.test(name) && !reservedFiles.includes(name.toLowerCase())
      ? []
      : [
          {
            message: `${path} has an invalid file name.`,
            place: { path },
            expected: `a name that ends with .json, other than ${reservedFiles.join(', ')}`,
            found: JSON.stringify(name),
          },
        ]),
    ...jsonProblems(content, `${path}[${JSON.stringify(name)}]`),
  ]);
}

/** Throws if there are problems. @throws `code` with all of them */
function throwContentProblems(code: ErrorCode, who: string, problems: readonly Problem[]): void {
  const [first, ...rest] = problems;
  if (first === undefined) return;
  throw new WhetstoneError(code, `${who}: ${first.message}`, { ...first, problems: rest });
}

/** Returns the problems of an adapter that is exported, and of its configuration compared with tensors and model. */
export function adapterProblems(model: ExportedModel, adapter: unknown): readonly Problem[] {
  const problems = exportProblems(adapter);
  if (problems.length > 0) return problems;
  const { config, tensors } = adapter as ExportedAdapter;
  return exportMismatches(model, { config: config as Readonly<Record<string, unknown>>, tensors });
}

/** Returns the adapter that an attachment exports, or undefined. @throws `PLUGIN_FAILED` if it is invalid */
export function exportedAdapter(
  owner: { exportAdapter?(): ExportedAdapter },
  model: ExportedModel,
): ExportedAdapter | undefined {
  if (owner.exportAdapter === undefined) return undefined;
  const adapter = owner.exportAdapter();
  throwContentProblems('PLUGIN_FAILED', 'The strategy exported an invalid adapter', adapterProblems(model, adapter));
  return adapter;
}

/** Returns the state of an object. @throws `PLUGIN_FAILED` if it is malformed */
export function savedState(plugin: string, object: { saveState(): SavedState }): SavedState {
  const state = object.saveState();
  throwContentProblems('PLUGIN_FAILED', `'${plugin}' returned an invalid state`, stateProblems(state));
  return state;
}

/** Checks the values of a tensor of a state. @throws `PLUGIN_FAILED` if one is not finite */
export function checkFinite(plugin: string, tensor: string, values: ArrayLike<number>): void {
  const problem = finiteProblem(tensor, values, 'saveState().tensors');
  throwContentProblems('PLUGIN_FAILED', `'${plugin}' returned an invalid state`, problem === null ? [] : [problem]);
}

/** Checks the values of a tensor of an exported adapter. @throws `PLUGIN_FAILED` if one is not finite */
export function checkExported(tensor: string, values: ArrayLike<number>): void {
  const problem = finiteProblem(tensor, values, 'exportAdapter().tensors');
  throwContentProblems('PLUGIN_FAILED', 'The strategy exported an invalid adapter', problem === null ? [] : [problem]);
}
