import { WhetstoneError, isWhetstoneError, type Problem } from '../contract/index.js';
import type { RawConfig } from './read-config.js';
import { resolveConfig, type ConfigResolution, type ResolveConfigOptions } from './resolve-config.js';
import { splitStages } from './stage-configs.js';

/** A configuration that is ready to be composed: one run, or several that start each from the one before. */
export interface ResolvedStage {
  /** Null for a run without stages. */
  readonly name: string | null;
  readonly resolution: ConfigResolution;
}

/**
 * Resolves a configuration as written into the run, or the runs, that it stands for. All stages are checked before the
 * first is run.
 *
 * @throws WhetstoneError what {@link resolveConfig} throws, with the stage's name; `CONFIG_INVALID` where several
 *   stages have problems
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
  if (first !== undefined) throw second === undefined ? named(first.name, first.error) : together(errors);
  return resolved as unknown as readonly [ResolvedStage, ...ResolvedStage[]];
}

function named(name: string, error: WhetstoneError): WhetstoneError {
  const { code, message, place, expected, found, hint, problems, details, cause } = error;
  return new WhetstoneError(code, `Stage '${name}': ${message}`, {
    ...(place === undefined ? {} : { place }),
    ...(expected === undefined ? {} : { expected }),
    ...(found === undefined ? {} : { found }),
    ...(hint === undefined ? {} : { hint }),
    problems,
    details: { ...details, stage: name },
    cause,
  });
}

/** What several stages share is told once. */
function together(errors: readonly { readonly name: string; readonly error: WhetstoneError }[]): WhetstoneError {
  const told = new Set<string>();
  const problems = errors.flatMap(({ name, error }) => {
    const all: readonly Problem[] = error.problems.length > 0 ? error.problems : [error];
    return all.flatMap(({ message, place, expected, found, hint }): Problem[] => {
      const key = JSON.stringify([message, place, expected, found]);
      if (told.has(key)) return [];
      told.add(key);
      return [
        {
          message: `Stage '${name}': ${message}`,
          ...(place === undefined ? {} : { place }),
          ...(expected === undefined ? {} : { expected }),
          ...(found === undefined ? {} : { found }),
          ...(hint === undefined ? {} : { hint }),
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
