import { WhetstoneError, type PluginInstances, type PluginKind, type Problem } from '../contract/index.js';
import { validateCallback } from '../hooks/index.js';
import { validateMetric } from '../plugins/index.js';
import { isRecord, misspelledMembers, unknownMembers } from '../util/index.js';

/** The kinds of plugins that create an object of members. Callbacks, loggers and metrics have checks of their own. */
type ObjectKind = Exclude<PluginKind, 'callback' | 'logger' | 'metric' | 'schedule'>;

/** What a member is; `required` if an instance must have it. */
type Member = 'required' | 'function' | 'any';

/** The members of an instance of each kind. */
const members: { readonly [K in ObjectKind]: Readonly<Record<keyof PluginInstances[K], Member>> } = {
  strategy: {
    role: 'any',
    changeableOptions: 'any',
    storage: 'function',
    plan: 'function',
    checkRun: 'function',
    attach: 'required',
  },
  model: { load: 'required', outline: 'function' },
  'data-source': { conversations: 'required', unreadable: 'any', files: 'any' },
  'data-transform': { transform: 'required', trainOnly: 'any', report: 'any', recipe: 'any' },
  optimizer: {
    prepare: 'function',
    apply: 'required',
    evaluationWeights: 'function',
    stateValues: 'function',
    checkRun: 'function',
    saveState: 'required',
    loadState: 'required',
    dispose: 'required',
  },
};

/** The kinds whose instances have no members of their own, so that an unknown key is a mistake. */
const strictKinds: readonly PluginKind[] = ['strategy', 'optimizer'];

/**
 * Validates the object that a plugin created, or that an application registered.
 *
 * @throws `PLUGIN_INVALID` with all problems
 */
export function validateInstance(kind: PluginKind, instance: unknown, plugin: string): void {
  if (kind === 'callback' || kind === 'logger') return validateCallback(instance, plugin);
  if (kind === 'metric') return validateMetric(instance, plugin);
  if (kind !== 'schedule') return validateMembers(kind, instance, plugin);
  if (typeof instance !== 'function') refuse(kind, plugin, 'a function of the number of steps', instance);
}

function refuse(kind: PluginKind, plugin: string, expected: string, found: unknown): never {
  throw new WhetstoneError('PLUGIN_INVALID', `The ${kind} '${plugin}' created an invalid instance.`, {
    expected,
    found: found === null ? 'null' : typeof found,
    details: { plugin, kind },
  });
}

function validateMembers(kind: ObjectKind, instance: unknown, plugin: string): void {
  const all: Readonly<Record<string, Member>> = members[kind];
  const known = Object.keys(all);
  const required = known.filter((name) => all[name] === 'required');
  const isRequired = (name: string): boolean => isRecord(instance) && typeof instance[name] === 'function';
  const unknown = (strictKinds.includes(kind) ? unknownMembers : misspelledMembers)(
    isRecord(instance) ? instance : {},
    known,
  );
  const problems: Problem[] = unknown.map(({ name, hint }) => ({
    message: `The ${kind} '${plugin}' has an unknown key: ${name}.`,
    place: { path: name },
    hint,
  }));
  if (problems.length === 0 && !required.every(isRequired))
    refuse(kind, plugin, `an object with ${required.join(', ')}`, instance);
  for (const name of known) {
    const value = isRecord(instance) ? instance[name] : undefined;
    if (all[name] === 'any' || value === undefined || typeof value === 'function') continue;
    problems.push({
      message: `${name} of the ${kind} '${plugin}' is not a function.`,
      place: { path: name },
      expected: 'a function',
      found: value === null ? 'null' : typeof value,
    });
  }
  if (kind === 'strategy') problems.push(...changeableProblems(instance, plugin));
  const [first, ...rest] = problems;
  if (first !== undefined)
    throw new WhetstoneError('PLUGIN_INVALID', first.message, { ...first, problems: rest, details: { plugin, kind } });
}

/** Returns the problem of the options that may change when a run resumes. */
function changeableProblems(strategy: unknown, plugin: string): readonly Problem[] {
  const names: unknown = isRecord(strategy) ? strategy['changeableOptions'] : undefined;
  if (names === undefined || (Array.isArray(names) && names.every((name) => typeof name === 'string'))) return [];
  return [
    {
      message: `changeableOptions of the strategy '${plugin}' is not a list of names.`,
      place: { path: 'changeableOptions' },
      expected: 'a list of names of options',
    },
  ];
}
