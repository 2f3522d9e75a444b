import {
  callbackMembers,
  hookTable,
  WhetstoneError,
  type Callback,
  type CallbackMember,
  type Problem,
  type RequestName,
} from '../contract/index.js';
import { describeFound, didYouMean, isRecord, membersOf, nearest } from '../util/index.js';

const known: readonly string[] = [...Object.keys(hookTable), ...callbackMembers];
const looksLikeHook = /^(?:on|transform|add)[A-Z]/;

function isHook(value: unknown): boolean {
  if (typeof value === 'function') return true;
  if (typeof value !== 'object' || value === null) return false;
  const { order, handler } = value as { order?: unknown; handler?: unknown };
  return (order === 'pre' || order === 'post') && typeof handler === 'function';
}

const isMember = (name: string): name is CallbackMember => (callbackMembers as readonly string[]).includes(name);

/** The only value of a member that is not a function, and its effect if it is absent. */
const fields = {
  nonFinite: {
    value: 'skip',
    expected: "'skip', or no key 'nonFinite' (a step that is not finite then fails the run)",
  },
  rollsBack: { value: true, expected: "true, or no key 'rollsBack' (the callback then cannot call control.rollback)" },
} as const;

/** The names of all requests. */
const requestNames = Object.keys({
  stop: true,
  evaluate: true,
  save: true,
  skipUpdate: true,
  markBest: true,
  setLearningRate: true,
  rollback: true,
} satisfies Record<RequestName, true>);

/** Returns the problems of the list of requests. */
function requestProblems(member: unknown, plugin: string): readonly Problem[] {
  const expected = `a list of ${requestNames.join(', ')}`;
  if (!Array.isArray(member))
    return [{ message: `requests of callback '${plugin}' is not a list.`, expected, found: describeFound(member) }];
  return (member as readonly unknown[])
    .filter((name) => typeof name !== 'string' || !requestNames.includes(name))
    .map((name) => ({
      message: `requests of callback '${plugin}' contains an unknown request.`,
      place: { path: 'requests' },
      expected,
      found: typeof name === 'string' ? `'${name}'` : describeFound(name),
      hint: typeof name === 'string' ? didYouMean(name, requestNames) : undefined,
    }));
}

/** Returns the problems of a member that is not a hook. */
function memberProblems(name: CallbackMember, member: unknown, plugin: string): readonly Problem[] {
  if (member === undefined) return [];
  if (name === 'requests') return requestProblems(member, plugin);
  if (name !== 'nonFinite' && name !== 'rollsBack') {
    if (typeof member === 'function') return [];
    return [{ message: `${name} of callback '${plugin}' is not a function.`, found: describeFound(member) }];
  }
  const { value, expected } = fields[name];
  if (member === value) return [];
  return [
    {
      message: `${name} of callback '${plugin}' has an invalid value.`,
      expected,
      found: typeof member === 'string' ? `'${member}'` : describeFound(member),
      hint: typeof member === 'string' && typeof value === 'string' ? didYouMean(member, [value]) : undefined,
    },
  ];
}

/**
 * Validates the object that a callback or logger plugin created. A plain object may have only hooks and {@link
 * callbackMembers} as keys. An instance of a class may have other fields and methods if their names are not similar to
 * those of hooks.
 *
 * @throws `PLUGIN_INVALID` with all problems, and suggestions for misspelled hooks
 */
export function validateCallback(value: unknown, plugin: string): asserts value is Callback {
  if (!isRecord(value)) {
    throw new WhetstoneError('PLUGIN_INVALID', `Plugin '${plugin}' did not create an object of hooks.`, {
      expected: 'an object of hooks',
      found: describeFound(value),
    });
  }
  const { names, isPlain } = membersOf(value);
  const problems = names.flatMap((name): readonly Problem[] => {
    const member: unknown = (value as Record<string, unknown>)[name];
    if (name in hookTable) {
      if (member === undefined || isHook(member)) return [];
      return [
        {
          message: `Hook ${name} of callback '${plugin}' is not a function.`,
          expected: "a function, or { order: 'pre' | 'post', handler }",
          found: describeFound(member),
        },
      ];
    }
    if (isMember(name)) return memberProblems(name, member, plugin);
    const isInvalid =
      isPlain || (typeof member === 'function' && (looksLikeHook.test(name) || nearest(name, known) !== undefined));
    return isInvalid
      ? [
          {
            message: `Callback '${plugin}' has a key that is not a hook: ${name}.`,
            hint: didYouMean(name, known) ?? `Known keys: ${known.join(', ')}.`,
          },
        ]
      : [];
  });
  const { nonFinite } = value as { readonly nonFinite?: unknown };
  if (problems.length === 0 && nonFinite === undefined && !names.some((name) => name in hookTable)) {
    problems.push({
      message: `Callback '${plugin}' has no hook.`,
      hint: `Known hooks: ${Object.keys(hookTable).join(', ')}.`,
    });
  }
  const [first, ...rest] = problems;
  if (first !== undefined)
    throw new WhetstoneError('PLUGIN_INVALID', first.message, { ...first, problems: rest, details: { plugin } });
}
