import { describe, it } from 'vitest';
import type { Check, Checks } from './check.js';
import type { Options } from './options.js';

/** A suite at work on a busy machine must not make a plugin look wrong. Milliseconds for each check. */
const CHECK_TIMEOUT = 120_000;

/** Registers each check as a test: once for the plugin, for each set of options, and for each set of bad options. */
export function registerChecks<Subject>(
  checks: Checks<Subject>,
  plugin: { readonly kind: string; readonly name: string },
  sets: {
    readonly options: Readonly<Record<string, Options>>;
    readonly badOptions?: Readonly<Record<string, Options>>;
  },
  subjectOf: (options: Options) => Subject,
): void {
  const register = (list: readonly Check<Subject>[], subject: Subject): void => {
    for (const check of list) if (check.applies?.(subject) ?? true) it(check.name, () => check.run(subject));
  };
  describe(`${plugin.kind} ${plugin.name}`, { timeout: CHECK_TIMEOUT }, () => {
    register(checks.plugin, subjectOf({}));
    for (const [name, options] of Object.entries(sets.badOptions ?? {}))
      describe(`bad options: ${name}`, () => register(checks.badOptions, subjectOf(options)));
    for (const [name, options] of Object.entries(sets.options))
      describe(name, () => register(checks.options, subjectOf(options)));
  });
}
