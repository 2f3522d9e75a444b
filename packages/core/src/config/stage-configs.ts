import type { Problem } from '../contract/index.js';
import { didYouMean } from '../util/index.js';
import type { Path } from './paths.js';
import type { RawConfig } from './read-config.js';
import { isObject, valueAt } from './slots.js';
import { describeValue } from './validate-config.js';

/** One stage of a configuration with stages, as a complete configuration. */
interface StageConfig {
  readonly name: string;
  readonly raw: RawConfig;
}

/** Sections whose keys are merged with those of a stage. */
const MERGED_SECTIONS = ['data', 'optimizer', 'schedule', 'training'] as const;
/** Sections that a stage replaces completely. */
const REPLACED_SECTIONS = ['strategy', 'companions', 'callbacks', 'loggers'] as const;

const NAME = /^[\p{L}\p{N}][\p{L}\p{N}._-]*$/u;
const sections: readonly string[] = [...MERGED_SECTIONS, ...REPLACED_SECTIONS];

/** The stages of a configuration, and what is wrong with the list itself. */
interface SplitStages {
  /** The stages that are objects. */
  readonly stages: readonly StageConfig[];
  readonly problems: readonly Problem[];
}

/**
 * Returns the stages of a configuration (`stages: [{name, data, …}, …]`), or null if it has none. Each stage is a
 * complete configuration: the keys next to `stages`, merged with those of the stage.
 */
export function splitStages(raw: RawConfig): SplitStages | null {
  if (!isObject(raw.value) || raw.value['stages'] === undefined) return null;
  const { stages, ...shared } = raw.value;
  const problems: Problem[] = [];
  const problem = (path: Path, message: string, more: Omit<Problem, 'message' | 'place'> = {}): void =>
    void problems.push({ message, place: { path: 'stages', ...raw.locate(path) }, ...more });
  const list: readonly unknown[] = Array.isArray(stages) ? (stages as readonly unknown[]) : [];
  if (list.length === 0)
    problem(['stages'], 'The value of stages is not a list with at least one stage.', {
      expected: 'a list of objects',
      found: describeValue(stages),
    });
  const names = new Set<string>();
  const found = list.flatMap((stage, index): StageConfig[] => {
    const path = ['stages', index];
    if (!isObject(stage)) {
      problem(path, 'The stage is not an object.', { expected: 'an object', found: describeValue(stage) });
      return [];
    }
    const { name = `stage-${index + 1}`, ...own } = stage;
    if (typeof name !== 'string' || !NAME.test(name))
      problem([...path, 'name'], 'The name of the stage cannot be used as the name of a folder.', {
        expected: 'a letter or digit, then letters, digits, dots, underscores and dashes',
        found: describeValue(name),
      });
    else if (names.has(name)) problem([...path, 'name'], `Two stages have the name '${name}'.`);
    else names.add(name);
    for (const key of Object.keys(own)) {
      if (sections.includes(key)) continue;
      const hint =
        didYouMean(key, [...sections, 'name']) ??
        `A stage can have: name, ${sections.join(', ')}. All other keys apply to all stages.`;
      problem([...path, key], `Unknown key '${key}' in a stage.`, { hint });
    }
    const locate: RawConfig['locate'] = (where) =>
      where.length > 0 && valueAt(own, where) !== undefined ? raw.locate([...path, ...where]) : raw.locate(where);
    // An unknown key of the stage is reported here only.
    const known = Object.fromEntries(Object.entries(own).filter(([key]) => sections.includes(key)));
    return [{ name: String(name), raw: { ...raw, value: mergeStage(shared, known), locate } }];
  });
  return { stages: found, problems };
}

/** Merges a stage into the shared keys. Sections are merged key by key, unless the stage selects a different plugin. */
function mergeStage(shared: Readonly<Record<string, unknown>>, own: Readonly<Record<string, unknown>>): unknown {
  const merged: Record<string, unknown> = { ...shared, ...own };
  for (const key of MERGED_SECTIONS) {
    const [before, after] = [shared[key], own[key]];
    if (!isObject(before) || !isObject(after)) continue;
    const isDifferentPlugin = after['use'] !== undefined && after['use'] !== before['use'];
    merged[key] = isDifferentPlugin ? after : { ...before, ...after };
  }
  return merged;
}
