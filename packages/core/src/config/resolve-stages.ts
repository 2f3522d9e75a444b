import { WhetstoneError, isWhetstoneError, type Problem } from '../contract/index.js';
import type { RawConfig } from './read-config.js';
import { resolveConfig, type ConfigResolution, type ResolveConfigOptions } from './resolve-config.js';
import { splitStages } from './stage-configs.js';

/** A run, or one stage of a run, with its resolved configuration. */
export interface ResolvedStage {
  /** The name of the stage; null for a run without stages. */
  readonly name: string | null;
  readonly resolution: ConfigResolution;
}

/**
 * Resolves a configuration into its stages, or into a single run. Call it before the first stage starts, so that errors
 * in later stages are found early.
 *
 * @throws the errors of {@link resolveConfig}, with the name of the stage
 * @throws `CONFIG_INVALID` if several stages have problems
 */
export async function resolveStages(
  raw: RawConfig,
  options: ResolveConfigOptions,
): Promise<readonly [ResolvedStage, ...ResolvedStage[]]> {
  const stages = splitStages(raw);
  if (stages === null) return [{ name: null, resolution: await resolveConfig(raw, options) }];
  const resolved: ResolvedStage[] = [];
  const errors: { readonly name: string; readonly error: WhetstoneError }[] = [];
  for (const { name, raw: own } of stages) {
    try {
      resolved.push({ name, resolution: await resolveConfig(own, options) });
    } catch (error) {
      if (!isWhetstoneError(error)) throw error;
      errors.push({ name, error });
    }
  }
  const [first, second] = errors;
  if (first !== undefined) throw second === undefined ? withStageName(first.name, first.error) : mergeErrors(errors);
  return resolved as unknown as readonly [ResolvedStage, ...ResolvedStage[]];
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

/** Merges the errors of several stages. Problems that the stages have in common are reported once. */
function mergeErrors(errors: readonly { readonly name: string; readonly error: WhetstoneError }[]): WhetstoneError {
  const reported = new Set<string>();
  const problems = errors.flatMap(({ name, error }) => {
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
  return new WhetstoneError(
    'CONFIG_INVALID',
    `The configurations of ${errors.length} stages have ${problems.length} problems.`,
    { problems },
  );
}
