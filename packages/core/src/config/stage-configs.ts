import { WhetstoneError, type Problem } from '../contract/index.js';
import { didYouMean } from './did-you-mean.js';
import type { Path } from './paths.js';
import type { RawConfig } from './read-config.js';
import { isObject, valueAt } from './slots.js';
import { describeValue } from './validate-config.js';

/** One stage of a staged configuration, as a configuration of its own. */
export interface StageConfig {
  readonly name: string;
  readonly raw: RawConfig;
}

/** Sections of which a stage may change single keys, and those that it replaces whole. */
const MERGED_SECTIONS = ['data', 'optimizer', 'schedule', 'training'] as const;
const REPLACED_SECTIONS = ['strategy', 'companions', 'callbacks', 'loggers'] as const;

const NAME = /^[\p{L}\p{N}][\p{L}\p{N}._-]*$/u;
const sections: readonly string[] = [...MERGED_SECTIONS, ...REPLACED_SECTIONS];

/**
 * The stages of a configuration (`stages: [{name, data, …}, …]`), each as a whole configuration: what stands beside
 * `stages`, and over it what the stage says. Null where there are none.
 *
 * @throws WhetstoneError `CONFIG_INVALID` with everything that is wrong with the list itself
 */
export function splitStages(raw: RawConfig): readonly StageConfig[] | null {
  if (!isObject(raw.value) || raw.value['stages'] === undefined) return null;
  const { stages, ...shared } = raw.value;
  const problems: Problem[] = [];
  const problem = (path: Path, message: string, more: Omit<Problem, 'message' | 'place'> = {}): void =>
    void problems.push({ message, place: { path: 'stages', ...raw.locate(path) }, ...more });
  const list: readonly unknown[] = Array.isArray(stages) ? (stages as readonly unknown[]) : [];
  if (list.length === 0)
    problem(['stages'], 'The stages are not a list with at least one stage.', {
      expected: 'a list of objects',
      found: describeValue(stages),
    });
  const names = new Set<string>();
  const found = list.flatMap((stage, index): StageConfig[] => {
    const path = ['stages', index];
    if (!isObject(stage)) {
      problem(path, 'A stage is an object.', { found: describeValue(stage) });
      return [];
    }
    const { name = `stage-${index + 1}`, ...own } = stage;
    if (typeof name !== 'string' || !NAME.test(name))
      problem([...path, 'name'], "The name of a stage is part of its folder's.", {
        expected: 'letters, digits, dots, dashes',
        found: describeValue(name),
      });
    else if (names.has(name)) problem([...path, 'name'], `Two stages are called '${name}'.`);
    else names.add(name);
    for (const key of Object.keys(own)) {
      if (sections.includes(key)) continue;
      const hint =
        didYouMean(key, [...sections, 'name']) ??
        `A stage may have: name, ${sections.join(', ')}; the rest is the same for all stages.`;
      problem([...path, key], `Unknown key '${key}' in a stage.`, { hint });
    }
    const locate: RawConfig['locate'] = (where) =>
      where.length > 0 && valueAt(own, where) !== undefined ? raw.locate([...path, ...where]) : raw.locate(where);
    return [{ name: String(name), raw: { ...raw, value: overlay(shared, own), locate } }];
  });
  if (problems.length > 0)
    throw new WhetstoneError(
      'CONFIG_INVALID',
      problems.length === 1 ? 'The stages have a problem.' : `The stages have ${problems.length} problems.`,
      { problems },
    );
  return found;
}

/** A stage over what all stages share: key by key within a section, unless the section names another plugin. */
function overlay(shared: Readonly<Record<string, unknown>>, own: Readonly<Record<string, unknown>>): unknown {
  const merged: Record<string, unknown> = { ...shared, ...own };
  for (const key of MERGED_SECTIONS) {
    const [before, after] = [shared[key], own[key]];
    if (!isObject(before) || !isObject(after)) continue;
    const isOtherPlugin = after['use'] !== undefined && after['use'] !== before['use'];
    merged[key] = isOtherPlugin ? after : { ...before, ...after };
  }
  return merged;
}
