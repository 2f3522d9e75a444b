import type { PluginContext } from '@whetstone/core/contract';

/** Options that may be ineffective, with the reason; null if the option is used. */
type Reasons = Readonly<Record<string, string | null>>;

export const when = (isUnused: boolean, reason: string): string | null => (isUnused ? reason : null);

/** Warns about the options that the user wrote and that change nothing. */
export function warnAboutUnused({ isSet, logger }: PluginContext, plugin: string, reasons: Reasons): void {
  for (const [option, reason] of Object.entries(reasons))
    if (reason !== null && isSet?.(option) === true)
      logger.warn(`The option ${option} of ${plugin} has no effect: ${reason}.`);
}
