import type { Check, Checks, Options } from '@whetstone/testing';

/** Returns all checks of a suite, each with the options to run it with. */
export const allChecks = <Subject>(
  checks: Checks<Subject>,
  badOptions: Options,
): (Check<Subject> & { readonly options: Options })[] => [
  ...checks.plugin.map((check) => ({ ...check, options: {} })),
  ...checks.options.map((check) => ({ ...check, options: {} })),
  ...checks.badOptions.map((check) => ({ ...check, options: badOptions })),
];

/** Runs a check that must fail; returns the message of its failure, or null if it passed. */
export const failureOf = <Subject>(check: Check<Subject>, subject: Subject): Promise<string | null> =>
  check.run(subject).then(
    () => null,
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
