import { WhetstoneError, isWhetstoneError, type Problem } from '../contract/index.js';
import { counted } from '../util/index.js';
import type { RawConfig } from './read-config.js';
import { resolveConfig, type ConfigResolution, type ResolveConfigOptions } from './resolve-config.js';
import { splitStages } from './stage-configs.js';

/** A run, or one stage of a run, with its resolved configuration. */
export interface ResolvedStage {
  /** The name of the stage; null for a run without stages. */
  readonly name: string | null;
  readonly resolution: ConfigResolution;
}

/** Checks a stage beyond its configuration, such as for missing files of its data. */
export type CheckStage = (stage: ResolvedStage) => Promise<void>;

interface StageError {
  readonly name: string;
  readonly error: WhetstoneError;
}

/**
 * Resolves a configuration into its stages, or into a single run. Call it before the first stage starts, so that errors
 * in later stages are found early.
 *
 * @param check checks the valid stages if others are invalid, so that all errors are reported together
 * @throws the errors of {@link resolveConfig}, with the name of the stage
 * @throws `CONFIG_INVALID` if the list of stages or several stages have problems
 */
export async function resolveStages(
  raw: RawConfig,
  options: ResolveConfigOptions,
  check?: CheckStage,
): Promise<readonly [ResolvedStage, ...ResolvedStage[]]> {
  const split = splitStages(raw);
  if (split === null) return [{ name: null, resolution: await resolveConfig(raw, options) }];
  const resolved: ResolvedStage[] = [];
  const errors = await errorsOf(split.stages, async ({ name, raw: own }) => {
    resolved.push({ name, resolution: await resolveConfig(own, options) });
  });
  if (errors.length > 0 || split.problems.length > 0)
    throwErrors(split.problems, [...errors, ...(check === undefined ? [] : await errorsOf(resolved, check))]);
  return resolved as unknown as readonly [ResolvedStage, ...ResolvedStage[]];
}

/**
 * Checks all stages.
 *
 * @throws the error of `check`, with the name of the stage
 * @throws `CONFIG_INVALID` if several stages have problems
 */
export async function checkStages(stages: readonly ResolvedStage[], check: CheckStage): Promise<void> {
  throwErrors([], await errorsOf(stages, check));
}

/** Calls a function for each stage and returns the errors. Errors that are no fault of the stage are thrown. */
async function errorsOf<S extends { readonly name: string | null }>(
  stages: readonly S[],
  check: (stage: S) => Promise<void>,
): Promise<StageError[]> {
  const errors: StageError[] = [];
  for (const stage of stages) {
    try {
      await check(stage);
    } catch (error) {
      if (!isWhetstoneError(error) || error.code === 'INTERRUPTED') throw error;
      errors.push({ name: stage.name ?? '', error });
    }
  }
  return errors;
}

/** Throws one error for the problems of the list and the errors of stages, or returns if there are none. */
function throwErrors(problems: readonly Problem[], errors: readonly StageError[]): void {
  const [first, second] = errors;
  if (problems.length === 0 && first === undefined) return;
  if (problems.length === 0 && first !== undefined && second === undefined)
    throw withStageName(first.name, first.error);
  throw mergeErrors(problems, errors);
}

function withStageName(name: string, error: WhetstoneError): WhetstoneError {
  const { code, message, place, expected, found, hint, problems, details, cause } = error;
  return new WhetstoneError(code, `Stage '${name}': ${message}`, {
    place,
    expected,
    found,
    hint,
    problems,
    details: { ...details, stage: name },
    cause,
  });
}

/** Merges the problems of the list with those of the stages. Problems that stages have in common are reported once. */
function mergeErrors(own: readonly Problem[], errors: readonly StageError[]): WhetstoneError {
  const reported = new Set<string>();
  const ofStages = errors.flatMap(({ name, error }) => {
    const all: readonly Problem[] = error.problems.length > 0 ? error.problems : [error];
    return all.flatMap(({ message, place, expected, found, hint }): Problem[] => {
      const key = JSON.stringify([message, place, expected, found]);
      if (reported.has(key)) return [];
      reported.add(key);
      return [
        {
          message: `Stage '${name}': ${message}`,
          place,
          expected,
          found,
          hint,
        },
      ];
    });
  });
  const problems = [...own, ...ofStages];
  return new WhetstoneError('CONFIG_INVALID', `The stages have ${counted(problems.length, 'problem')}.`, { problems });
}
