import type { Tensor } from '@tensorflow/tfjs-core';
import {
  WhetstoneError,
  isWhetstoneError,
  type Attachment,
  type LanguageModel,
  type Optimizer,
  type Problem,
} from '../contract/index.js';
import { callMember, guardAttachment } from './guard-attachment.js';
import type { Named, Owner } from './named.js';
import {
  adapterProblems,
  unknownMemberProblems,
  finiteProblem,
  savedState,
  stateProblems,
  tensorProblems,
} from '../checkpoint/attachment-contents.js';
import { describeFound, isRecord, messageOf, sizeOfShape, unknownMembers } from '../util/index.js';

/** The members of an attachment, and what each is. */
const members = {
  trainable: 'variables',
  masters: 'variables',
  savedAs: 'dtype',
  trainAll: 'function',
  learningRateScale: 'function',
  penalty: 'function',
  wrapData: 'function',
  beforeStep: 'function',
  effectiveWeights: 'function',
  exportAdapter: 'function',
  afterUpdate: 'function',
  merge: 'function',
  saveState: 'function',
  loadState: 'function',
  dispose: 'function',
} as const satisfies Record<keyof Attachment, 'variables' | 'dtype' | 'function'>;

const known = Object.keys(members) as (keyof Attachment)[];
const required: readonly string[] = ['trainable', 'saveState', 'loadState', 'dispose'];
const savedDtypes: readonly unknown[] = ['float32', 'bfloat16'];

/** At most so many numbers of a state are read for the check. Every number is checked when a checkpoint is written. */
const CHECKED_NUMBERS = 1 << 20;

/** Returns the problems of a member that is known. */
function memberProblems(name: keyof Attachment, value: unknown): readonly Problem[] {
  const place = { path: name };
  if (value === undefined)
    return required.includes(name)
      ? [
          {
            message: `${name} is missing.`,
            place,
            expected: name === 'trainable' ? 'a Map of variables by name' : 'a function',
          },
        ]
      : [];
  switch (members[name]) {
    case 'function':
      return typeof value === 'function'
        ? []
        : [{ message: `${name} is not a function.`, place, expected: 'a function', found: describeFound(value) }];
    case 'dtype':
      return savedDtypes.includes(value)
        ? []
        : [
            {
              message: 'savedAs is not a dtype of saved models.',
              place,
              expected: "'float32' or 'bfloat16'",
              found: describeFound(value),
            },
          ];
    case 'variables':
      return tensorProblems(value, name, 'variables');
  }
}

/** Returns the problems of the numbers in the tensors of a state or an adapter. */
async function numberProblems(member: string, tensors: ReadonlyMap<string, Tensor>): Promise<readonly Problem[]> {
  let read = 0;
  const problems: Problem[] = [];
  for (const [name, value] of tensors) {
    read += sizeOfShape(value.shape);
    if (read > CHECKED_NUMBERS) break;
    const problem = finiteProblem(name, await value.data(), `${member}().tensors`);
    if (problem !== null) problems.push(problem);
  }
  return problems;
}

/**
 * Checks what `attach` of a strategy returned: its keys, their types, its state, and the adapter that it exports, whose
 * configuration must select the modules of its tensors by PEFT's rules. Saves and exports once without writing, so that
 * a run does not end in a result that cannot be written. The attachment that it returns checks what its members return.
 *
 * @throws `PLUGIN_INVALID` with all problems
 * @throws `PLUGIN_FAILED` if `saveState` or `exportAdapter` throws
 * @throws `STRATEGY_TARGETS_NOTHING` if an owner trains no parameter
 */
export async function validateAttachment(
  value: unknown,
  plugin: string,
  role: 'owner' | 'companion',
  model: LanguageModel,
): Promise<Attachment> {
  const refuse = (problems: readonly Problem[]): void => {
    const [first, ...rest] = problems;
    if (first === undefined) return;
    throw new WhetstoneError(
      'PLUGIN_INVALID',
      `Strategy '${plugin}' returned an invalid attachment. ${first.message}`,
      {
        ...first,
        problems: rest,
        details: { plugin, kind: 'strategy' },
      },
    );
  };
  if (!isRecord(value)) return refuseAll(plugin, value);
  refuse([
    ...unknownMemberProblems(unknownMembers(value, known), 'The attachment', ''),
    ...known.flatMap((name) => memberProblems(name, value[name])),
  ]);
  const attachment = value as unknown as Attachment;
  const state = callMember(plugin, 'saveState', () => attachment.saveState());
  const problems = [
    ...roleProblems(attachment, role),
    ...sharedProblems(attachment),
    ...masterProblems(attachment),
    ...stateProblems(state),
  ];
  const exported = callMember(plugin, 'exportAdapter', () => attachment.exportAdapter?.());
  if (attachment.exportAdapter !== undefined) problems.push(...adapterProblems(model, exported));
  refuse(problems);
  refuse(await numberProblems('saveState', state.tensors));
  if (exported !== undefined) refuse(await numberProblems('exportAdapter', exported.tensors));
  if (role === 'owner' && attachment.trainable.size === 0)
    throw new WhetstoneError('STRATEGY_TARGETS_NOTHING', `Strategy '${plugin}' trains no parameter.`, {
      place: { path: 'strategy' },
      expected: 'at least one variable in trainable of the attachment',
      details: { plugin, kind: 'strategy' },
    });
  return guardAttachment(plugin, attachment, known);
}

function refuseAll(plugin: string, value: unknown): never {
  throw new WhetstoneError('PLUGIN_INVALID', `attach of strategy '${plugin}' did not return an attachment.`, {
    expected: `an object with ${required.join(', ')}`,
    found: describeFound(value),
    details: { plugin, kind: 'strategy' },
  });
}

/**
 * Checks the state of an optimizer before its first update, so that a run does not fail at its first checkpoint.
 *
 * @throws `PLUGIN_FAILED` if `saveState` throws, or returns no state
 */
export function validateOptimizerState({ plugin, instance }: Named<Optimizer>): void {
  try {
    savedState(plugin, instance);
  } catch (cause) {
    if (isWhetstoneError(cause)) throw cause;
    throw new WhetstoneError('PLUGIN_FAILED', `saveState of optimizer '${plugin}' failed: ${messageOf(cause)}`, {
      details: { plugin, kind: 'optimizer' },
      cause,
    });
  }
}

/** A companion owns no parameters: an optimizer would not update them, and no checkpoint would contain them. */
function roleProblems({ trainable, exportAdapter }: Attachment, role: 'owner' | 'companion'): readonly Problem[] {
  if (role === 'owner') return [];
  const place = { path: trainable.size > 0 ? 'trainable' : 'exportAdapter' };
  return trainable.size > 0 || exportAdapter !== undefined
    ? [
        {
          message: 'A companion has parameters of its own, which are not trained or saved.',
          place,
          expected: 'an empty map, and no exportAdapter',
          hint: "If it decides what is trained, set role: 'owner'.",
        },
      ]
    : [];
}

/** A variable with two names would be updated twice in each step. */
function sharedProblems({ trainable }: Attachment): readonly Problem[] {
  const names = new Map<unknown, string>();
  return [...trainable].flatMap(([name, variable]) => {
    const other = names.get(variable);
    names.set(variable, name);
    return other === undefined
      ? []
      : [
          {
            message: 'A variable has two names.',
            place: { path: 'trainable', tensor: name },
            expected: 'each variable once',
            found: `${other} and ${name}`,
          },
        ];
  });
}

function masterProblems({ trainable, masters }: Attachment): readonly Problem[] {
  return [...(masters ?? [])].flatMap(([name, master]) => {
    const shape = trainable.get(name)?.shape;
    return shape?.join() === master.shape.join()
      ? []
      : [
          {
            message: 'A float32 copy belongs to no trained parameter of its shape.',
            place: { path: 'masters', tensor: name },
            expected: shape === undefined ? 'a name in trainable' : `[${shape.join(', ')}]`,
            found: `[${master.shape.join(', ')}]`,
          },
        ];
  });
}

/** The types of PEFT whose adapters are compared with their configuration, and read by built-in strategies. */
const checkedTypes: readonly unknown[] = ['LORA', 'IA3', 'PREFIX_TUNING', 'PROMPT_TUNING', 'P_TUNING'];

/**
 * Reads the adapter that a strategy exports with the reader of its plugin, so that a run does not end in an adapter
 * that nothing can read. Does nothing for types of PEFT that built-in strategies read.
 *
 * @throws `PLUGIN_INVALID` if the reader does not read the type of the adapter
 * @throws `PLUGIN_FAILED` if the reader fails
 */
export async function readExported({ plugin, adapter }: Owner, owner: Attachment, model: LanguageModel): Promise<void> {
  const exported = adapter === undefined ? undefined : owner.exportAdapter?.();
  if (adapter === undefined || exported === undefined) return;
  const type = isRecord(exported.config) ? exported.config['peft_type'] : undefined;
  if (checkedTypes.includes(type)) return;
  if (!adapter.peftTypes.some((name) => name === type))
    throw new WhetstoneError('PLUGIN_INVALID', `Strategy '${plugin}' exports an adapter that it does not read.`, {
      place: { path: 'exportAdapter().config.peft_type' },
      expected: `a type of adapter.peftTypes: ${adapter.peftTypes.join(', ')}`,
      found: String(type),
      details: { plugin, kind: 'strategy' },
    });
  try {
    const read = await adapter.load(model, { config: exported.config, tensors: exported.tensors });
    if (isRecord(read) && typeof read.dispose === 'function') read.dispose();
  } catch (cause) {
    throw new WhetstoneError(
      'PLUGIN_FAILED',
      `adapter.load of strategy '${plugin}' does not read what the strategy exports: ${messageOf(cause)}`,
      {
        ...(isWhetstoneError(cause) ? { place: cause.place, problems: cause.problems } : {}),
        details: { plugin, kind: 'strategy' },
        cause,
      },
    );
  }
}
